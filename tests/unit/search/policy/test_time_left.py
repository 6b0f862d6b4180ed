"""The time left of sweeps on a simulated clock, compared with what they still take."""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from lstm_sweep.search.policy.cost import DataSize
from lstm_sweep.search.policy.plan import Plan
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.policy.time_left import TimeLeft
from lstm_sweep.spaces.space import Space, from_mapping
from tests.simulated import Networks, Simulation

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
        self.seen: list[tuple[float, float | None]] = []
        self.slots = slots

    def _fill(self) -> None:
        super()._fill()
        if not self.seen or self._now >= self.seen[-1][0] + LOOK_S:
            left = TimeLeft(self._policy, self._now, self.slots, {}).seconds()
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
        found.append((left - (took - at)) / (took - at))
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
    assert TimeLeft(policy, 0.0, 2, {}).seconds() is None
    timed = Policy(Plan(trials=9, seconds=60.0), problem, sweep="s", slots=2)
    assert TimeLeft(timed, 20.0, 2, {}).seconds() == 40.0


def test_it_is_never_longer_than_the_deadline_and_never_negative() -> None:
    sweep, took = watched(trials=90, seconds=100.0)
    assert all(left is not None and 0 <= left <= 100.0 - at for at, left in sweep.seen)
    assert took <= 101.0


def test_nothing_is_left_at_the_end() -> None:
    sweep, took = watched(trials=12)
    last, left = sweep.seen[-1]
    assert left == pytest.approx(took - last, abs=LOOK_S)
