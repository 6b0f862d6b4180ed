from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.store.curves import (
    best_loss_history,
    gains,
    read_curve,
    with_rounds,
)
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.journal import FORMAT
from lstm_sweep.search.store.reader import read_trial
from lstm_sweep.search.store.tags import Tag, Tags
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.values.trial import round_seconds


def record_with(curve: str, **more: str) -> Any:
    """The record of a trial whose run has this curve, and more tags."""
    return SimpleNamespace(
        run_id="r", logged_rounds=2, tags=Tags(run_with({Tag.CURVE: curve} | more))
    )


def run_with(tags: dict[str, str]) -> Any:
    """A run that has these tags."""
    return SimpleNamespace(info=SimpleNamespace(run_id="r"), data=SimpleNamespace(tags=tags))


@pytest.mark.parametrize("seconds", ["NaN", "1e308", "1e999", "-2", "0", "true", "null", "9" * 400])
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
NO_STORE = cast("Store", None)


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


def test_times_never_go_back() -> None:
    logged = ((0, 1_100_000, 2.0), (1, 1_050_000, 1.5), (1, 1_150_000, 1.2))
    store: Any = SimpleNamespace(timeline=lambda run_id, key: logged)
    for driven, last in ((120.0, 120.0), (0.0, 150.0)):  # 0: nobody knows for how long yet
        expected = ((100.0, 2.0), (100.0, 1.5), (last, 1.2))
        assert best_loss_history(store, sweep_begun(1_000_000), driven) == expected


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
    rounds: list[dict[str, float]] = [{"val_loss": 2.0, "round_seconds": 3.0}]
    rounds += [{"val_loss": 1.5, "round_seconds": 4.0}]
    curve = json.dumps([list(one.values()) for one in rounds])
    written = {
        Tag.FORMAT: str(FORMAT), Tag.NAME: "s", Tag.TRIAL: "1", Tag.SEED: "1", Tag.CURVE: curve,
        Tag.PHASE: "search", Tag.DATA: "{}", Tag.CONFIG: json.dumps(TrialConfig().to_dict()),
    }  # fmt: skip
    began = 100_000
    end = None if end_s is None else began + round(end_s * 1000)
    info = SimpleNamespace(run_id="r", status=status, start_time=began, end_time=end)
    data = SimpleNamespace(tags=written | tags, params={}, metrics={})
    record = read_trial(SimpleNamespace(info=info, data=data))
    assert with_rounds(NO_STORE, record).seconds == seconds
    if status == "RUNNING" and not tags:  # rounds of an earlier attempt are not its own
        assert with_rounds(NO_STORE, record, before=rounds[:1]).seconds == 4.0
