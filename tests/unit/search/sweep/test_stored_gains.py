from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from lstm_sweep.search.store.curves import best_loss_history, driven_at, gains

NAN = math.nan


def sweep_begun(ms: int, **tags: str) -> Any:
    """The run of a sweep that was made at this time, with a best loss."""
    info, metrics = SimpleNamespace(run_id="r", start_time=ms), {"best_val_loss": 1.2}
    return SimpleNamespace(info=info, data=SimpleNamespace(tags=tags, params={}, metrics=metrics))


@pytest.mark.parametrize(
    "logged, expected",
    [
        ([], []),
        ([(0, 5, NAN)], []),
        ([(0, 5, 3.0), (0, 7, 2.0), (1, 9, 2.0)], [(5, 3.0), (7, 2.0)]),
        # infinite, and beyond what may be compared
        ([(0, 5, math.inf), (0, 6, -1e200), (0, 7, 2.0), (1, 8, -math.inf)], []),
        # the trial with 1.5 has failed; another one is better later
        ([(0, 5, 3.0), (0, 6, 1.5), (1, 7, 3.0), (1, 8, 1.2)], [(5, 3.0), (8, 1.2)]),
        ([(0, 5, 3.0), (0, 6, 1.5), (1, 7, 2.0)], [(5, 3.0), (7, 2.0)]),
        ([(0, 5, 1.5), (1, 7, NAN), (1, 8, 2.0)], [(8, 2.0)]),
        # it was broken off, and goes on
        ([(0, 5, 3.0), (0, 6, 1.5), (1, 7, 3.0), (1, 9, 1.5)], [(5, 3.0), (6, 1.5)]),
        # within a millisecond, in the order of a database
        ([(0, 5, 1.0), (0, 5, 2.0), (0, 5, 3.0)], [(5, 3.0), (5, 2.0), (5, 1.0)]),
        # the clock of the second driver is behind
        ([(1, 90, 1.5), (0, 100, 2.0)], [(100, 2.0), (90, 1.5)]),
    ],
)
def test_gains_are_the_losses_that_were_best_and_stayed(
    logged: list[tuple[int, int, float]], expected: list[tuple[int, float]]
) -> None:
    assert gains(logged) == expected


def test_seconds_count_from_the_beginning_and_end_with_the_time_driven() -> None:
    sweep = sweep_begun(1_000_000)
    assert [driven_at(at, sweep, 60.0) for at in (900, 1030, 5000)] == [0.0, 30.0, 60.0]
    assert driven_at(5000, sweep, 0.0) == 4000.0  # nobody knows yet for how long it was driven


def test_time_in_a_queue_does_not_count() -> None:
    waited = sweep_begun(1_000_000, **{"sweep.started": "4000.5"})
    assert driven_at(4030.5, waited, 60.0) == 30.0
    odd = sweep_begun(1_000_000, **{"sweep.started": "soon"})
    assert driven_at(1030, odd, 60.0) == 30.0


def test_times_never_go_back() -> None:
    logged = ((0, 1_100_000, 2.0), (1, 1_050_000, 1.5), (1, 1_150_000, 1.2))
    store: Any = SimpleNamespace(timeline=lambda run_id, key: logged)
    expected = ((100.0, 2.0), (100.0, 1.5), (120.0, 1.2))
    assert best_loss_history(store, sweep_begun(1_000_000), 120.0) == expected


def test_a_sweep_without_a_best_loss_costs_no_request() -> None:
    sweep = sweep_begun(1_000_000)
    sweep.data.metrics.clear()
    assert best_loss_history(None, sweep, 60.0) == ()  # type: ignore[arg-type]
