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
    return a_round_of(number, done, 3.0 - done)


def a_round_of(number: int, done: int, loss: float, attempt: int = 1) -> Event:
    data = {"trial": f"s/{number}", "number": number, "attempt": attempt, "round": done}
    return Event("round", data | {"epoch": done / 2, "val_loss": loss}, "")


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
        "[1] s/1 complete, loss 2.0000, the best so far",
        "[2] s/0 pruned",
    ]


def lines_of(*events: Event, seconds: float = 0.0) -> list[str]:
    """What people are told if each event comes so many seconds after the one before."""
    said, now = list[str](), [0.0]
    lines = Lines("s", said.append, lambda: now[0])
    for event in events:
        now[0] += seconds
        lines.hear(event)
    return said


END = {"outcome": "complete", "val_loss": 2.0}


def best(number: int, loss: float) -> Event:
    """What the service says once a trial is the best."""
    found = status("running")
    return Event("status", found.data | {"best": {"trial": f"s/{number}", "val_loss": loss}}, "")


def test_one_that_is_worse_than_one_that_goes_on_is_not_the_best() -> None:
    first = trial(0, "running"), a_round_of(0, 1, 1.5), best(0, 1.5)
    assert lines_of(*first, trial(1, "ended", **END)) == ["[1] s/1 complete, loss 2.0000"]
    assert lines_of(*first, trial(0, "paused"), trial(1, "ended", **END)) == [
        "[1] s/1 complete, loss 2.0000"
    ]


def test_one_that_has_ended_since_is_the_best_if_it_is_lower() -> None:
    first = trial(0, "running"), a_round_of(0, 1, 2.5), best(0, 2.5)
    assert lines_of(*first, trial(1, "ended", **END)) == [
        "[1] s/1 complete, loss 2.0000, the best so far"
    ]


def test_rounds_of_a_template_say_nothing_of_what_it_returns() -> None:
    first = trial(0, "running"), a_round_of(0, 1, 1.5), Event("status", NO_BEST, "")
    assert lines_of(*first, trial(1, "ended", **END)) == [
        "[1] s/1 complete, loss 2.0000, the best so far"
    ]


NO_BEST = status("running").data | {"best": None}


@pytest.mark.parametrize("outcome", ["diverged", "lost", "error", "one of a newer version"])
def test_a_trial_that_has_failed_is_not_the_best_any_more(outcome: str) -> None:
    first = trial(0, "running"), a_round_of(0, 1, 1.5), best(0, 1.5)
    failed = trial(0, "ended", outcome=outcome, val_loss=1.5)
    assert lines_of(trial(1, "ended", **END), *first, failed) == [
        "[1] s/1 complete, loss 2.0000, the best so far",
        f"[2] s/0 {outcome}, loss 1.5000; best s/1 2.0000",
    ]


def test_after_a_while_a_line_says_how_running_trials_stand() -> None:
    going = [trial(n, "running", phase="ladder" if n == 0 else "search") for n in range(6)]
    events = *going, trial(5, "paused"), best(0, 2.25), a_round_of(0, 1, 2.25), best(0, 2.25)
    assert lines_of(*events, seconds=3.5) == [
        "[0] s/0 (ladder) at epoch 0.5, loss 2.2500; s/1 at epoch 0; s/2 at epoch 0; "
        "s/3 at epoch 0; and 1 more; 1 paused, best s/0 2.2500 (running), about 5 s left"
    ]
    assert lines_of(*events, seconds=3.0) == []


def test_the_time_left_is_that_of_now() -> None:
    events = trial(0, "running"), best(0, 2.25), a_round_of(0, 1, 2.25), a_round_of(0, 2, 2.25)
    left = events[1].data | {"eta_seconds": 600.0}
    first, last = lines_of(events[0], Event("status", left, ""), *events[2:], seconds=50.0)
    assert first.endswith("about 10 min left") and last.endswith("about 8 min left")


def test_a_trial_that_has_ended_is_not_told_as_running() -> None:
    said, now = list[str](), [0.0]
    lines = Lines("s", said.append, lambda: now[0])
    lines.hear(trial(0, "running"))
    now[0] = 40.0  # its last round and its end come together
    lines.hear(a_round_of(0, 1, 2.0))
    lines.hear(trial(0, "ended", **END))
    assert said == ["[1] s/0 complete, loss 2.0000, the best so far"]


def test_trials_that_have_waited_and_are_pruned_are_counted() -> None:
    waited = [trial(n, state, outcome="pruned") for n in (2, 3) for state in ("paused", "ended")]
    assert lines_of(trial(0, "running"), *waited, trial(0, "ended", **END)) == [
        "2 trials that waited are pruned: others were better",
        "[3] s/0 complete, loss 2.0000, the best so far",
    ]


def test_a_new_attempt_begins_anew() -> None:
    rounds = a_round_of(0, 1, 1.5), a_round_of(0, 1, 2.5, attempt=2), a_round_of(0, 2, 2.75, 2)
    [said] = lines_of(*rounds, seconds=20.0)
    assert said == "[0] s/0 at epoch 1, loss 2.5000; no result yet"
