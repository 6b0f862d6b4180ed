from __future__ import annotations

import json
from typing import Any

import pytest

from lstm_sweep.search.client.listening import Event
from lstm_sweep.search.commands.afar_progress import JsonLines, Lines, Silent
from lstm_sweep.search.commands.json_lines import COMMON, SCHEMA


def trial(number: int, state: str, **more: Any) -> Event:
    """A trial of two epochs, each of two rounds."""
    row = {
        "trial": f"s/{number}", "number": number, "state": state, "run_id": "r", "attempt": 1,
        "phase": "search", "rounds_per_epoch": 2, "config": {"epochs": 2}, "outcome": None,
        "val_loss": None,
    }  # fmt: skip
    return Event("trial", row | more, "")


def a_round(number: int, done: int) -> Event:
    data = {"trial": f"s/{number}", "number": number, "attempt": 1, "round": done}
    return Event("round", data | {"epoch": done / 2, "val_loss": 3.0 - done}, "")


def status(state: str, why: str | None = None) -> Event:
    counts = {"complete": 1, "running": 2, "paused": 1}
    more = {"trials": counts, "best": {"trial": "s/1", "val_loss": 2.0}, "eta_seconds": 5.0}
    return Event("status", {"state": state, "why": why, "run_id": "r", "slots": 2, **more}, "")


EVENTS = [
    status("queued", "waits for a slot"), status("queued", "waits for a slot"), status("running"),
    trial(0, "running"), a_round(0, 1), trial(0, "paused"), trial(0, "running"), status("running"),
    a_round(1, 1), trial(1, "ended", outcome="complete", val_loss=2.0),
    trial(0, "ended", outcome="pruned"),
]  # fmt: skip


def test_each_event_is_a_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    lines = JsonLines("s")
    for event in EVENTS:
        lines.hear(event)
    best = {"trial": "s/1", "val_loss": 2.0, "config": {}}
    lines.ended(
        {"state": "finished", "why": "done", "trials": {"a": 2}, "best": best, "seconds": 3.0}
    )
    output, errors = capsys.readouterr()
    found = [json.loads(line) for line in errors.splitlines()]
    assert output == "" and all(tuple(one) == (*COMMON, *SCHEMA[one["event"]]) for one in found)
    assert [(one["event"], one.get("trial")) for one in found] == [
        ("message", None), ("started", None), ("trial_started", "s/0"), ("round", "s/0"),
        ("trial_paused", "s/0"), ("trial_resumed", "s/0"), ("progress", None),
        ("trial_started", "s/1"), ("round", "s/1"), ("trial_ended", "s/1"), ("trial_ended", "s/0"),
        ("ended", None),
    ]  # fmt: skip
    assert found[2]["rounds"] == 4 and found[3]["metrics"] == {"val_loss": 2.0}
    assert (found[6]["trials_done"], found[6]["running"], found[6]["seconds_left"]) == (1, 2, 5.0)
    assert (found[-1]["trials_done"], found[-1]["best"]) == (2, {"trial": "s/1", "val_loss": 2.0})


def test_people_are_told_of_ends_and_of_reasons_to_wait() -> None:
    said = list[str]()
    lines = Lines("s", said.append)
    for event in EVENTS:
        lines.hear(event)
        Silent().hear(event)
    assert said == [
        "sweep s: queued (waits for a slot)",
        "[1] s/1 complete loss 2.0000; best s/1 2.0000",
        "[2] s/0 pruned loss -; best s/1 2.0000",
    ]
