from __future__ import annotations

import pytest

from lstm_sweep.search.engines import ray_cluster
from lstm_sweep.search.engines.ray_cluster import AGAIN_AT_MOST_S, ALL, Faults, delay_s, left_out


class Clock:
    """The time, as a test sets it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """The time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(ray_cluster, "time", clock)
    return clock


def test_delays_double_and_have_a_limit_however_often_something_fails() -> None:
    assert [delay_s(times) for times in (1, 2, 3, 6, 7)] == [2.0, 4.0, 8.0, 60.0, 60.0]
    assert delay_s(10_000) == AGAIN_AT_MOST_S


def test_a_node_is_left_out_for_a_while_and_then_has_one_slot_for_as_long(clock: Clock) -> None:
    faults = Faults()
    assert faults.offer == ALL
    faults.note("no room")
    assert faults.offer == left_out("no room")
    clock.now += 2.0
    assert faults.offer == left_out("no room", 1, told=True)
    clock.now += 2.0
    assert faults.offer == ALL


def test_trials_that_fail_at_once_count_as_one_and_those_that_fail_later_do_not(
    clock: Clock,
) -> None:
    faults = Faults()
    for _ in range(64):
        faults.note("no room")
    clock.now += 2.0
    assert faults.offer.slots == 1
    faults.note("still none")
    clock.now += 2.0
    assert faults.offer == left_out("still none", told=True)
    clock.now += 2.0
    assert faults.offer.slots == 1
