"""The time left of sweeps on a simulated clock, compared with what they still take."""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from lstm_sweep.search.policy.cost import DataSize
from lstm_sweep.search.policy.plan import Plan
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.policy.time_left import expected_left, seconds_left
from lstm_sweep.spaces.space import from_mapping
from tests.simulated import Networks, Simulation

#: networks that cost alike, so that it matters little which of them is the best
SPACE = {"learning_rate": [0.1, 0.01, 0.001], "layers": 2, "layer_size": [56, 64, 72],
         "dropout": [0.0, 0.1, 0.2, 0.3], "batch_size": [32, 64], "epochs": 9}  # fmt: skip
SIZE = DataSize(200_000, 60, 4_000)
#: simulated seconds between two looks
LOOK_S = 10.0


class Watched(Simulation):
    """A sweep that notes the time left as it goes on."""

    def __init__(self, slots: int = 2, **plan: Any) -> None:
        problem = Networks(SIZE).problem(from_mapping({**SPACE}, "test"))
        policy = Policy(Plan(**plan), problem, sweep="s", slots=slots)
        super().__init__(policy, Networks(SIZE), slots)
        self.seen: list[tuple[float, float | None]] = []
        self.took = self.run().seconds

    def _fill(self) -> None:
        super()._fill()
        if not self.seen or self._now >= self.seen[-1][0] + LOOK_S:
            self.seen.append((self._now, expected_left(self._policy, self._now)))


@pytest.mark.parametrize(
    "limit, done, to_come, least, further, left",
    [
        (None, 0, 9, 0.0, 0.0, None),  # nothing is known yet
        (60.0, 0, 9, 0.0, 0.0, 40.0),
        (15.0, 0, 9, 0.0, 0.0, 0.0),
        (None, 4, 6, 0.0, 0.0, 30.0),
        (None, 4, 6, 50.0, 7.0, 57.0),
        (45.0, 4, 6, 0.0, 7.0, 25.0),
        (None, 4, 0, 0.0, 0.0, 0.0),
    ],
)
def test_trials_to_come_take_as_long_as_those_before(
    limit: float | None, done: int, to_come: int, least: float, further: float, left: float | None
) -> None:
    found = seconds_left(
        20.0, limit=limit, done=done, to_come=to_come, least=least, further=further
    )
    assert found == left


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
