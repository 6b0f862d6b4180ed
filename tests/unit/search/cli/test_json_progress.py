from __future__ import annotations

import json
import re
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.cli.progress import COMMON, PROGRESS_S, SCHEMA, JsonLines
from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.trial import Ended, Outcome, Slot, Trial
from tests.states import with_trials
from tests.unit.documents import DOCS, rows, section, text_of

SLOT = Slot(0, core=0)


def progress(*losses: float, number: int = 1, **more: Any) -> Trial:
    """A trial of four epochs with these rounds."""
    rounds = [{"val_loss": loss} for loss in losses]
    made = Trial(
        sweep="s", number=number, config=TrialConfig(epochs=4), seed=0, run_id=f"run-{number}",
        slot=SLOT, rounds=rounds,
    )  # fmt: skip
    return replace(made, **more)


def state(*running: Trial, now: float = 0.0, **more: Any) -> SweepState:
    """A sweep of five trials."""
    new = SweepState(name="s", spec=SweepSpec(trials=5), run_id="parent", slots=(SLOT,), now=now)
    return replace(with_trials(new, (), running), **more)


def lines_of(text: StringIO) -> list[dict[str, Any]]:
    """The lines that were written since the last call."""
    found = [json.loads(line) for line in text.getvalue().splitlines()]
    text.seek(0)
    text.truncate()
    return found


def test_each_thing_that_happens_is_a_line_of_the_schema() -> None:
    text = StringIO()
    shown = JsonLines(text)
    shown.said("store: here")
    shown.started(state())
    shown.update(state(progress()))
    shown.update(state(progress(2.0, float("nan"))))
    shown.update(state(paused={1: progress(2.0, 1.5, 1.25, paused="at epoch 3")}))
    shown.update(state(progress(2.0, 1.5, 1.25)))
    done = progress(2.0, 1.5, 1.25, 1.0, ended=Ended(Outcome.COMPLETE), seconds=8.0)
    shown.trial_ended(done, state())
    shown.ended(state(now=9.0))
    found = lines_of(text)
    assert [line["event"] for line in found] == [
        "message", "started", "trial_started", "progress", "round", "round", "round",
        "trial_paused", "trial_resumed", "round", "trial_ended", "ended",
    ]  # fmt: skip
    for line in found:
        assert tuple(line) == (*COMMON, *SCHEMA[line["event"]])
        assert re.fullmatch(r"2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])
    assert [line["sweep"] for line in found] == [None, *["s"] * 11]
    rounds = [line for line in found if line["event"] == "round"]
    assert [line["metrics"]["val_loss"] for line in rounds] == [2.0, None, 1.25, 1.0]
    assert [(line["round"], line["epoch"]) for line in rounds] == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert (found[-2]["val_loss"], found[-2]["outcome"]) == (1.0, "complete")
    assert found[-1]["seconds"] == 9.0


def test_the_whole_sweep_is_told_now_and_then() -> None:
    text = StringIO()
    shown = JsonLines(text)
    for now in (0.0, PROGRESS_S / 2, PROGRESS_S):
        shown.update(state(progress(2.0), now=now, expected_end=60.0))
    told = [line for line in lines_of(text) if line["event"] == "progress"]
    assert [line["seconds_left"] for line in told] == [60.0, 60.0 - PROGRESS_S]
    assert told[0]["best"] == {"trial": "s/1", "val_loss": 2.0}


def test_rounds_that_an_earlier_driver_has_seen_are_not_told_again() -> None:
    text = StringIO()
    shown = JsonLines(text)
    paused = state(paused={1: progress(2.0, 1.5, paused="waits")})
    shown.started(paused)
    shown.update(paused)
    shown.update(state(progress(2.0, 1.5, 1.0)))
    events = [line["event"] for line in lines_of(text)]
    assert events == ["started", "trial_paused", "progress", "round", "trial_resumed"]


def test_secrets_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hush-hush")
    text = StringIO()
    JsonLines(text).said("cannot log in with hush-hush")
    assert "hush-hush" not in text.getvalue()


def test_the_page_on_commands_has_the_schema() -> None:
    table = rows(section(DOCS / "commands.md", "Progress"))
    fields = {event.strip("`"): tuple(re.findall(r"`(\w+)`", names)) for event, names, _ in table}
    assert fields == dict(SCHEMA)
    assert text_of(DOCS / "commands.md").count("--progress json") > 0
