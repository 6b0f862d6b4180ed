"""What is begun when time is short, and the time left, compared with what sweeps still take."""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from lstm_sweep.search.policy.cost import DataSize
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.policy.stopping import out_of_time
from lstm_sweep.search.values.spec import Plan
from lstm_sweep.search.values.trial import Ended, Outcome, Phase
from lstm_sweep.spaces.dimension import Listed, Range
from lstm_sweep.spaces.space import Space, from_mapping
from tests.simulated import Networks, Simulation
from tests.unit.search.policy.player import (
    PLAIN,
    course_of,
    policy_of,
    reason_of,
    with_rounds,
)

#: networks that cost alike, so that it matters little which of them is the best
ALIKE = {"learning_rate": [0.1, 0.01, 0.001], "layers": 2, "layer_size": [56, 64, 72],
         "dropout": [0.0, 0.1, 0.2, 0.3], "batch_size": [32, 64], "epochs": 9}  # fmt: skip
SIZE = DataSize(200_000, 60, 4_000)
#: simulated seconds between two looks
LOOK_S = 10.0


class Watched(Simulation):
    """A sweep that notes the time left as it goes on."""

    def __init__(self, slots: int = 2, **plan: Any) -> None:
        problem = Networks(SIZE).problem(from_mapping({**ALIKE}, "test"))
        policy = Policy(Plan(**plan), problem, sweep="s", slots=slots)
        super().__init__(policy, Networks(SIZE), slots)
        self.seen: list[tuple[float, float | None]] = []
        self.took = self.run().seconds

    def _fill(self) -> None:
        super()._fill()
        if not self.seen or self._now >= self.seen[-1][0] + LOOK_S:
            self.seen.append((self._now, self._policy.expected_left(self._now)))


@pytest.mark.parametrize("halving", [True, False])
def test_half_way_it_is_about_right(halving: bool) -> None:
    errors = list[float]()
    for seed in range(3):
        sweep = Watched(trials=24, halving=halving, seed=seed)
        at, left = next(one for one in sweep.seen if one[0] >= sweep.took / 2)
        assert left is not None
        errors.append(left / (sweep.took - at) - 1)
    assert abs(statistics.median(errors)) <= 0.3, errors


def test_with_a_limit_of_time_it_is_what_is_left_of_that() -> None:
    sweep = Watched(trials=900, seconds=100.0)
    early = [(at, left) for at, left in sweep.seen if at < 60]
    assert len(early) > 3 and all(left == pytest.approx(100.0 - at) for at, left in early)
    assert all(left is not None and 0 <= left <= 100.0 - at for at, left in sweep.seen)


def test_nothing_is_left_at_the_end() -> None:
    sweep = Watched(trials=12)
    last, left = sweep.seen[-1]
    assert left == pytest.approx(sweep.took - last, abs=LOOK_S)
    assert sweep.seen[0] == (0.0, None)


def after_one_trial(
    space: Space, outcome: Outcome, first_rung: int = 1, confirm_configs: int = 0
) -> Policy:
    """A policy that saw one trial end after three epochs of ten seconds, and one to start it."""
    plan = Plan(**{**PLAIN, "trials": 50, "seconds": 100.0, "confirm_configs": confirm_configs})
    policy = policy_of(plan, space, slots=1, first_rung=first_rung)
    trial = policy.next(0.0)
    assert trial
    progress = course_of(trial)
    policy.begin(progress)
    progress = with_rounds(progress, *[{"val_loss": 2.0, "round_seconds": 10.0}] * 3)
    policy.end(progress.with_end(Ended(outcome), 31.0))
    return policy


#: why a sweep of 100 s ends with some of them left
TOO_SHORT = out_of_time(100.0, left=50.0).text
DROPOUT = Space({"dropout": Range("dropout", 0.0, 0.5), "epochs": Listed("epochs", (9,))})


@pytest.mark.parametrize(
    "first_rung, left, spent",
    [
        (1, 11.5, ""),
        (1, 10.5, TOO_SHORT),
        (3, 30.0, TOO_SHORT),
        (6, 50.0, TOO_SHORT),
    ],
)
def test_the_first_rung_has_to_fit_and_the_rest_has_not(
    first_rung: int, left: float, spent: str
) -> None:
    policy = after_one_trial(DROPOUT, Outcome.COMPLETE, first_rung=first_rung)
    assert bool(policy.next(100.0 - left)) == (not spent)
    assert reason_of(policy) == spent


ONE = Space({"epochs": Listed("epochs", (9,))})


@pytest.mark.parametrize(("left", "begins"), [(75.0, True), (28.0, False)])
def test_what_the_search_has_left_is_used_for_whole_further_runs(left: float, begins: bool) -> None:
    """Each of them takes 31 s."""
    policy = after_one_trial(ONE, Outcome.COMPLETE, confirm_configs=1)
    trial = policy.next(100.0 - left)
    assert (trial is not None) == begins
    assert trial is None or (trial.phase is Phase.CONFIRM and trial.most_rounds is None)


@pytest.mark.parametrize("outcome", [Outcome.PRUNED, Outcome.STOPPED])
def test_a_confirmation_of_a_trial_that_was_cut_short_has_as_many_rounds(outcome: Outcome) -> None:
    policy = after_one_trial(ONE, outcome, confirm_configs=1)
    trial = policy.next(30.0)  # nine epochs would take 91 s
    assert trial and trial.phase is Phase.CONFIRM and trial.most_rounds == 3
    assert after_one_trial(ONE, outcome, confirm_configs=1).next(90.0) is None
