from __future__ import annotations

import json
import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.store.curves import (
    best_loss_history,
    confirmed_of,
    driven_at,
    gains,
    read_curve,
    slot_seconds,
)
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.tags import Tag, Tags
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.values.progress import round_seconds
from lstm_sweep.search.values.trial import Outcome, Phase, Trial


def record_with(curve: str, **more: str) -> Any:
    """The record of a trial whose run has this curve, and more tags."""
    return SimpleNamespace(run_id="r", epochs=2, tags=Tags(run_with({Tag.CURVE: curve} | more)))


def run_with(tags: dict[str, str]) -> Any:
    """A run that has these tags."""
    return SimpleNamespace(info=SimpleNamespace(run_id="r"), data=SimpleNamespace(tags=tags))


@pytest.mark.parametrize("seconds", ["NaN", "1e999", "-2", "0", "true", "null", "9" * 400])
def test_a_time_that_cannot_be_added_up_is_left_out(seconds: str) -> None:
    store: Any = None
    found = read_curve(store, record_with(f"[[2.5, {seconds}], [2.0, 3.5]]"))
    assert found == [{"val_loss": 2.5}, {"val_loss": 2.0, "round_seconds": 3.5}]
    assert sum(round_seconds(found)) == 3.5


@pytest.mark.parametrize("text", ["[0.25]", '["a", "b"]', "[NaN, 1]", "{}"])
def test_seconds_of_scoring_that_are_none_are_refused(text: str) -> None:
    store: Any = None
    record = record_with("[[2.5, 1.0], [2.0, 3.5]]", **{Tag.SCORING_SECONDS: text})
    with pytest.raises(BadRunError, match=f"tag {Tag.SCORING_SECONDS} is "):
        read_curve(store, record)


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


def test_times_never_go_back() -> None:
    logged = ((0, 1_100_000, 2.0), (1, 1_050_000, 1.5), (1, 1_150_000, 1.2))
    store: Any = SimpleNamespace(timeline=lambda run_id, key: logged)
    expected = ((100.0, 2.0), (100.0, 1.5), (120.0, 1.2))
    assert best_loss_history(store, sweep_begun(1_000_000), 120.0) == expected


@pytest.mark.parametrize(
    ("status", "end_s", "tags", "seconds"),
    [
        ("FINISHED", 9.5, {}, 9.5),
        ("FINISHED", -1.0, {}, 0.0),  # the clock was put back
        ("FINISHED", 600.0, {Tag.SECONDS: "8.25"}, 8.25),  # it has waited
        ("RUNNING", None, {}, 7.0),
        ("RUNNING", None, {Tag.SECONDS: "4.5"}, 7.0),
        ("RUNNING", None, {Tag.SECONDS: "9.5"}, 9.5),
        ("KILLED", 9.5, {Tag.OUTCOME: "lost"}, 9.5),  # its worker died
        # its driver died long before its run was closed
        ("KILLED", 72_000.0, {Tag.OUTCOME: "lost", Tag.DRIVER_DIED: "yes"}, 7.0),
    ],
)
def test_a_trial_took_the_time_for_which_it_had_a_slot(
    status: str, end_s: float | None, tags: dict[str, str], seconds: float
) -> None:
    rounds = [{"val_loss": 2.0, "round_seconds": 3.0}, {"val_loss": 1.5, "round_seconds": 4.0}]
    began = 100_000
    end = None if end_s is None else began + round(end_s * 1000)
    info = SimpleNamespace(run_id="r", status=status, start_time=began, end_time=end)
    run: Any = SimpleNamespace(info=info, data=SimpleNamespace(tags=tags))
    record: Any = SimpleNamespace(tags=Tags(run), run=run)
    assert slot_seconds(record, rounds) == seconds
    if status == "RUNNING" and not tags:  # rounds of an earlier attempt are not its own
        assert slot_seconds(record, rounds, before=rounds[:1]) == 4.0


PER_EPOCH = 4
NO_STORE = cast("Store", None)


def record_of(number: int, phase: Phase, losses: Sequence[float], **more: Any) -> TrialRecord:
    """A trial of the same config as the others, whose curve is in a tag."""
    trial = Trial(
        sweep="s",
        number=number,
        config=TrialConfig(epochs=10),
        seed=number,
        phase=phase,
        rounds_per_epoch=PER_EPOCH,
        most_rounds=more.pop("most_rounds", None),
    )
    curve = more.pop("curve", json.dumps([[loss, 1.0] for loss in losses]))
    written = {Tag.CURVE: curve}
    if more.pop("unfinished", False):
        written[Tag.UNFINISHED] = "yes"
    data = SimpleNamespace(tags=written)
    info = SimpleNamespace(run_id="r", status="FINISHED", start_time=0, end_time=1)
    run = SimpleNamespace(info=info, data=data)
    best = min(losses)
    known = {"outcome": "complete", "best_val_loss": best, "tags": Tags(run), "run": run}
    return cast("TrialRecord", mock.Mock(trial=trial, **(known | more)))


FIRST = [1.5, 1.4, 1.3, 1.2, 1.0, 1.1]


def test_a_further_run_that_was_cut_short_counts_as_it_does_in_a_running_sweep() -> None:
    first = record_of(0, Phase.SEARCH, FIRST)
    whole = record_of(1, Phase.CONFIRM, [2.0, 1.1])
    early = record_of(2, Phase.CONFIRM, [3.0], outcome="stopped")
    late = record_of(3, Phase.CONFIRM, [2.0, 1.9, 1.8, 1.7, 1.2], outcome="stopped")
    [found] = confirmed_of(NO_STORE, [first, whole, early, late])
    assert found.losses == (1.1, 1.2) and found.failed == {Outcome.STOPPED: 1}
    assert str(found).startswith("s/0: 1.1500 +- 0.0707 over 2 of 3 further seeds; 1 stopped")
