"""The time left of sweeps on a simulated clock, compared with what they still take."""

from __future__ import annotations

import statistics
from functools import partial
from typing import Any

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.policy import time_left, trial_seconds
from lstm_sweep.search.policy.arrays import some_of
from lstm_sweep.search.policy.confirmation import SLACK
from lstm_sweep.search.policy.cost import DataSize
from lstm_sweep.search.policy.plan import Plan
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.policy.time_left import Estimate, TimeLeft
from lstm_sweep.search.trial import Ended, Outcome, Paused, Trial
from lstm_sweep.spaces.space import Space, from_mapping
from tests.simulated import Networks, Simulation
from tests.unit.search.policy.player import SMALL, course_of, policy_of, with_rounds

#: networks that cost alike, so that it matters little which of them is the best
SPACE = {"learning_rate": [0.1, 0.01, 0.001], "layers": 2, "layer_size": [56, 64, 72],
         "dropout": [0.0, 0.1, 0.2, 0.3], "batch_size": [32, 64], "epochs": 9}  # fmt: skip
SIZE = DataSize(200_000, 60, 4_000)
#: simulated seconds between two looks
LOOK_S = 10.0


class Watched(Simulation):
    """A sweep that notes the time left as it goes on."""

    def __init__(self, policy: Policy, slots: int) -> None:
        super().__init__(policy, Networks(SIZE), slots)
        self.seen: list[tuple[float, Estimate | None]] = []
        self.slots = slots

    def _fill(self) -> None:
        super()._fill()
        if not self.seen or self._now >= self.seen[-1][0] + LOOK_S:
            left = TimeLeft(self._policy, self._now, self.slots, {}).estimate()
            self.seen.append((self._now, left))


def space() -> Space:
    """The space of all tests."""
    return from_mapping({**SPACE}, "test")


def watched(slots: int = 2, **plan: Any) -> tuple[Watched, float]:
    """A sweep that has ended, and the seconds it took."""
    made = Plan(**plan)
    policy = Policy(made, Networks(SIZE).problem(space()), sweep="s", slots=slots)
    sweep = Watched(policy, slots)
    return sweep, sweep.run().seconds


def errors(sweep: Watched, took: float) -> list[float]:
    """How far off the time left was at a third, half and two thirds of the time of a sweep."""
    found = list[float]()
    for share in (1 / 3, 1 / 2, 2 / 3):
        at, left = next(one for one in sweep.seen if one[0] >= share * took)
        assert left is not None
        found.append((left.seconds - (took - at)) / (took - at))
    return found


@pytest.mark.parametrize(
    "plan", [{"trials": 16}, {"trials": 16, "halving": False}, {"trials": 60, "seconds": 400.0}]
)
def test_after_a_third_of_the_time_it_is_right_within_a_fifth(plan: dict[str, Any]) -> None:
    of_seeds = [errors(*watched(seed=seed, **plan)) for seed in range(3)]
    medians = [statistics.median(at_share) for at_share in zip(*of_seeds, strict=True)]
    assert all(abs(median) <= 0.2 for median in medians), medians


def test_before_anything_is_known_the_deadline_is_all_there_is() -> None:
    problem = Networks(SIZE).problem(space())
    policy = Policy(Plan(trials=9), problem, sweep="s", slots=2)
    assert TimeLeft(policy, 0.0, 2, {}).estimate() is None
    timed = Policy(Plan(trials=9, seconds=60.0), problem, sweep="s", slots=2)
    assert TimeLeft(timed, 20.0, 2, {}).estimate() == Estimate.exactly(40.0)


def test_it_is_never_longer_than_the_deadline_and_never_negative() -> None:
    sweep, took = watched(trials=90, seconds=100.0)
    for at, left in sweep.seen:
        assert left is not None
        assert 0 <= left.low <= left.seconds <= left.high <= 100.0 - at + 1e-9
    assert took <= 101.0


def test_nothing_is_left_at_the_end() -> None:
    sweep, took = watched(trials=12)
    last, left = sweep.seen[-1]
    assert left and left.seconds == pytest.approx(took - last, abs=LOOK_S)


def test_the_range_is_wide_early_and_that_of_single_runs_at_the_end() -> None:
    sweep, _ = watched(trials=40)
    early = next(left for _, left in sweep.seen if left and left.low < left.high)
    _, last = sweep.seen[-1]
    assert (early.high - early.low) > 0.2 * early.seconds
    assert last and last.high == pytest.approx(SLACK * last.seconds)
    assert last.low == pytest.approx((2 - SLACK) * last.seconds)


def test_what_is_really_left_is_mostly_in_the_range() -> None:
    within = list[bool]()
    for seed in range(3):
        sweep, took = watched(trials=24, seed=seed)
        known = [(took - at, left) for at, left in sweep.seen if left and left.low < left.high]
        within += [left.low - LOOK_S <= real <= left.high + LOOK_S for real, left in known]
    assert len(within) > 20 and sum(within) >= 0.6 * len(within)


def test_the_same_state_gives_the_same_estimate() -> None:
    sweep, _ = watched(trials=12)
    again, _ = watched(trials=12)
    assert sweep.seen == again.seen


def test_some_trials_tell_how_long_those_of_many_take(monkeypatch: pytest.MonkeyPatch) -> None:
    by_all, _ = watched(trials=120)
    for module in (time_left, trial_seconds):
        monkeypatch.setattr(module, "some_of", partial(some_of, most=20))
    by_some, _ = watched(trials=120)
    pairs = zip(by_all.seen, by_some.seen, strict=True)
    known = [(one.seconds, other.seconds) for (_, one), (_, other) in pairs if one and other]
    shares = [some / every for every, some in known if every > 10 * LOOK_S]
    assert len(shares) > 50 and all(0.9 < share < 1.1 for share in shares)
    assert by_all.seen != by_some.seen


def test_a_trial_that_runs_on_when_the_search_is_over_counts_to_its_next_rung() -> None:
    policy = policy_of(Plan(trials=9), SMALL, first_rung=3, judged_from=lambda config: 1)
    rounds = [{"val_loss": 2.0, "round_seconds": 10.0}]
    best = Trial(sweep="s", number=0, config=TrialConfig(epochs=9), seed=0)
    late = Trial(sweep="s", number=1, config=TrialConfig(epochs=9, layers=3), seed=0)
    ended = with_rounds(course_of(best), *rounds * 9)
    policy.begin(ended)
    policy.end(ended.with_end(Ended(Outcome.COMPLETE), 90.0))
    policy.begin(with_rounds(course_of(late), *rounds * 2))
    policy.confirmation.begin(0)
    left = TimeLeft(policy, 100.0, 2, {}).estimate()
    assert left and left.seconds == pytest.approx(10.0)


def halved(slots: int, *trials: tuple[float, int, str]) -> Estimate:
    """The time left of trials that are compared after 1 and 3 of 9 rounds of 10 s each.

    Each by its loss, its rounds, and what became of it; 4 more are to be begun.
    """
    plan = Plan(trials=len(trials) + 4, confirm_configs=0)
    policy = policy_of(plan, SMALL, slots=slots, first_rung=1, judged_from=lambda config: 1)
    for number, (loss, rounds, state) in enumerate(trials):
        trial = Trial(sweep="s", number=number, config=TrialConfig(epochs=9), seed=0)
        one = with_rounds(course_of(trial), *[{"val_loss": loss, "round_seconds": 10.0}] * rounds)
        policy.begin(one)
        policy.note(one)
        if state == "ended":
            policy.end(one.with_end(Ended(Outcome.COMPLETE), 10.0 * rounds))
        elif state == "paused":
            policy.pause(one.with_pause(Paused("it waits"), 10.0 * rounds))
    found = TimeLeft(policy, 100.0, slots, {}).estimate()
    assert found
    return found


def test_new_trials_get_the_slot_of_a_leader_that_has_ended() -> None:
    rest = [(2.9, 1, "paused")] * 20
    led, free = halved(2, (1.0, 2, "running"), *rest), halved(2, (1.0, 9, "ended"), *rest)
    # on two slots, 70 s of the leader keep all others waiting for half as long
    assert led.seconds - free.seconds == pytest.approx(35.0, abs=10.0)


def test_one_slot_trains_the_leader_and_the_new_trials_one_after_the_other() -> None:
    rest = [(2.9, 1, "paused")] * 20
    led, free = halved(1, (1.0, 5, "running"), *rest), halved(1, (1.0, 9, "ended"), *rest)
    assert led.seconds - free.seconds == pytest.approx(40.0, abs=10.0)


def test_a_trial_that_waits_behind_others_is_not_expected_to_be_trained_to_its_end() -> None:
    waiting = [(1.4, 1, "paused")] * 20
    far_behind, behind = (halved(2, (best, 9, "ended"), *waiting) for best in (1, 1.37))
    # what is forecast of them might as well be 1.37 or less
    assert behind.seconds == pytest.approx(far_behind.seconds, abs=5.0)


def test_trials_are_compared_as_those_that_are_trained_are() -> None:
    """By the losses from which on they may be judged; one that may not be yet does not count."""
    policy = policy_of(Plan(), SMALL, slots=2, first_rung=1, judged_from=lambda config: 2)
    for number, losses in enumerate(([9.0, 1.0], [8.0, 2.0, 1.5], [3.0])):
        trial = Trial(sweep="s", number=number, config=TrialConfig(epochs=9), seed=0)
        rounds = [{"val_loss": loss, "round_seconds": 10.0} for loss in losses]
        policy.begin(one := with_rounds(course_of(trial), *rounds))
        policy.note(one)
    assert TimeLeft(policy, 100.0, 2, {})._at_rungs == [[1.0, 2.0], [1.5]]
