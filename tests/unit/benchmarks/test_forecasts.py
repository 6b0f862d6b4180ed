"""How well forecasts tell the end of trials, on recordings of real networks."""

from __future__ import annotations

import statistics

import pytest

from benchmarks import curves
from benchmarks.forecasts import Recording, Told

SWEEPS = 8


def told(recording: Recording, trials: int, rung: int) -> Told:
    """The means over some sweeps."""
    found = [recording.told(trials, rung, seed) for seed in range(SWEEPS)]
    return Told(*(statistics.mean(column) for column in zip(*map(as_row, found), strict=True)))


def as_row(one: Told) -> tuple[float, ...]:
    return one.by_loss, one.by_forecast, one.within, one.width


def test_after_a_ladder_forecasts_know_young_trials_better_than_their_losses_do() -> None:
    recording = Recording(curves.FOLDER / "text.jsonl", near=True)
    first = told(recording, trials=40, rung=recording.rungs[0])
    assert first.by_forecast > first.by_loss + 0.3
    assert first.within > 0.8


@pytest.mark.parametrize(("rung", "least"), [(1, 0.85), (2, 0.94)])
def test_at_later_rungs_they_rank_networks_of_source_code_better_than_losses_do(
    rung: int, least: float
) -> None:
    recording = Recording(curves.FOLDER / "averages" / "source.jsonl", near=False)
    found = told(recording, trials=20, rung=recording.rungs[rung])
    assert found.by_forecast > max(found.by_loss, least)
    assert found.within > 0.8


def test_what_is_expected_of_larger_layers_helps_where_few_trials_are_known() -> None:
    recording = Recording(curves.FOLDER / "averages" / "shakespeare.jsonl", near=True)
    with_it = told(recording, trials=6, rung=recording.rungs[0])
    recording.weights = ()
    assert (
        with_it.by_forecast > told(recording, trials=6, rung=recording.rungs[0]).by_forecast + 0.1
    )
