"""Events of a service become the states that observers are shown."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

from rich.console import Console

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.actions.connection import Event
from lstm_sweep.search.actions.sweeps import SweepResult
from lstm_sweep.search.actions.watched import Watched
from lstm_sweep.search.cli.progress import COMMON, SCHEMA, JsonLines, Lines, LiveTable
from lstm_sweep.search.values.spec import SweepSpec

CONFIG = TrialConfig(epochs=2).to_dict()


def trial(number: int, state: str, **more: Any) -> Event:
    """A trial of two epochs, each of two rounds."""
    status = {"running": "RUNNING", "paused": "SCHEDULED"}.get(state, "FINISHED")
    row = {
        "trial": f"s/{number}", "number": number, "state": state, "run_id": f"r{number}",
        "attempt": 1, "phase": "search", "rounds_per_epoch": 2, "config": CONFIG, "seed": 0,
        "outcome": None, "val_loss": None, "status": status, "reason": "", "parameters": 1,
        "best_epoch": None, "epochs": 0, "has_weights": False, "rerun_of": "", "waits": False,
        "measured": "validation loss (nats per symbol)", "seconds": None,
    }  # fmt: skip
    return Event("trial", row | more, "")


def ended(number: int, outcome: str = "complete", **more: Any) -> Event:
    return trial(number, "ended", outcome=outcome, seconds=4.0, **more)


def a_round(number: int, done: int, loss: float, attempt: int = 1) -> Event:
    data = {"trial": f"s/{number}", "number": number, "attempt": attempt, "round": done}
    return Event("round", data | {"epoch": done / 2, "val_loss": loss}, "")


def status(state: str, why: str | None = None) -> Event:
    data: dict[str, Any] = {
        "sweep": "s", "state": state, "why": why, "run_id": "r", "slots": 2, "trials": {},
        "best": None, "submitted": "2026-01-01T00:00:00+00:00", "started": None,
        "eta_seconds": 600.0,
    }  # fmt: skip
    return Event("status", data, "")


RESULT = SweepResult(
    sweep="s", run_id="r", state="finished", why="done", trials={}, best=None, confirmed=(),
    baselines={}, seconds=9.0, time=None,
)  # fmt: skip
EVENTS = [
    status("queued", "waits for a slot"), status("queued", "waits for a slot"),
    trial(0, "running"), a_round(0, 1, 2.5), status("running"), trial(0, "paused"),
    trial(0, "running"), a_round(1, 1, 2.0), ended(1, val_loss=2.0), ended(0, "pruned"),
]  # fmt: skip


def lines_of(*events: Event, clock: list[float] | None = None) -> list[str]:
    """The lines for people about events, of which each comes as many seconds after the last."""
    text, now = StringIO(), [0.0]
    watched = Watched(
        "s", SweepSpec(trials=4), Lines(Console(file=text, width=200)), clock=lambda: now[0]
    )
    for event, seconds in zip(events, clock or [0.0] * len(events), strict=True):
        now[0] += seconds
        watched.hear(event)
    watched.end(RESULT)
    return text.getvalue().splitlines()


def test_people_are_told_of_ends_and_of_reasons_to_wait() -> None:
    said = lines_of(*EVENTS)
    assert said[0] == "sweep s: queued (waits for a slot)"
    assert said[2:] == [
        "s/0 waits after epoch 0.5",
        "[1/4] s/1 complete, loss 2.0000, the best so far, 4 s (uni 2x128, lr 0.01)",
        "1 trial that waited is pruned: others were better",
    ]


def test_each_event_is_a_line_of_json() -> None:
    text = StringIO()
    watched = Watched("s", SweepSpec(trials=4), JsonLines(text), clock=lambda: 0.0)
    for event in EVENTS:
        watched.hear(event)
    watched.end(RESULT)
    found = [json.loads(line) for line in text.getvalue().splitlines()]
    assert all(tuple(one) == (*COMMON, *SCHEMA[one["event"]]) for one in found)
    told = [(one["event"], one.get("trial")) for one in found if one["event"] != "progress"]
    assert told == [
        ("message", None), ("started", None), ("trial_started", "s/0"), ("round", "s/0"),
        ("trial_paused", "s/0"), ("trial_resumed", "s/0"), ("trial_started", "s/1"),
        ("round", "s/1"), ("trial_ended", "s/1"), ("trial_ended", "s/0"), ("ended", None),
    ]  # fmt: skip
    assert (found[1]["run_id"], found[1]["trials"], found[1]["slots"]) == ("r", 4, 2)
    assert found[-1]["seconds"] == 9.0 and found[-1]["best"]["val_loss"] == 2.0


def test_a_table_has_the_slots_that_the_service_gives() -> None:
    text = StringIO()
    console = Console(file=text, width=120, height=40, force_terminal=True)
    watched = Watched("s", SweepSpec(trials=4), LiveTable(console), clock=lambda: 9.0)
    watched.hear(status("running"))
    watched.hear(trial(0, "running"))
    watched.end(RESULT)
    assert "slot 1" in text.getvalue() and "slot 2" in text.getvalue()


def test_a_trial_that_fails_is_not_the_best_and_one_that_is_tried_again_begins_anew() -> None:
    said = lines_of(
        status("running"), trial(0, "running"), a_round(0, 1, 1.5), ended(0, "diverged"),
        trial(0, "running", attempt=2), a_round(0, 1, 2.5, attempt=2),
        ended(0, attempt=2, val_loss=2.5),
    )  # fmt: skip
    assert "s/0 diverged, loss 1.5000" in said[0] and said[0].endswith("; no result yet")
    assert said[1].startswith("[1/4] s/0 complete, loss 2.5000, the best so far")


def test_what_had_ended_before_a_sweep_was_resumed_is_not_told_again() -> None:
    known = [ended(0, val_loss=2.0), trial(1, "paused", waits=True)]
    new = [ended(2, val_loss=3.0)]
    trials = [one.data | {"losses": [2.5, 2.0]} for one in (*known, *new)]
    text = StringIO()
    console = Console(file=text, width=200)
    watched = Watched("s", SweepSpec(), Lines(console), told={("r0", False), ("r1", True)})
    watched.hear(Event("snapshot", {"trials": trials, "status": status("running").data}, ""))
    watched.hear(trial(1, "running"))
    watched.hear(ended(1, val_loss=1.0))
    told = [line.partition(" ")[2][:12] for line in text.getvalue().splitlines()]
    assert told == ["s/2 complete", "s/1 complete"]
