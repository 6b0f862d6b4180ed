"""The progress of a sweep that a service runs: lines for people, or lines of JSON."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from lstm_sweep.search.client.listening import Event
from lstm_sweep.search.commands.json_lines import write_line

#: state of a sweep that waits for slots
QUEUED = "queued"


class Progress(Protocol):
    """Shows the events of a sweep that a service drives."""

    def hear(self, event: Event) -> None:
        """Show an event of the service."""

    def ended(self, result: Mapping[str, Any]) -> None:
        """Show how the sweep has ended; `result` is the service's document on it."""


class Silent:
    """Shows nothing."""

    def hear(self, event: Event) -> None:
        """Show nothing."""

    def ended(self, result: Mapping[str, Any]) -> None:
        """Show nothing."""


class Lines:
    """A line for each trial that ends, and for each reason to wait."""

    def __init__(self, name: str, say: Callable[[str], None]) -> None:
        self._name, self._say = name, say
        self._done, self._waits = 0, ""
        self._best: tuple[str, float] | None = None

    def hear(self, event: Event) -> None:
        """Say why the sweep waits, or how a trial has ended."""
        data = event.data
        if event.name == "status" and data["state"] == QUEUED and data["why"] != self._waits:
            self._waits = data["why"]
            self._say(f"sweep {self._name}: {QUEUED}{f' ({self._waits})' if self._waits else ''}")
        if event.name != "trial" or data["state"] != "ended":
            return
        loss = data["val_loss"]
        self._done += 1
        if loss is not None and (self._best is None or loss < self._best[1]):
            self._best = (data["trial"], loss)
        phase = "" if data["phase"] == "search" else f" ({data['phase']})"
        so_far = f"best {self._best[0]} {self._best[1]:.4f}" if self._best else "no result yet"
        told = "-" if loss is None else f"{loss:.4f}"
        self._say(f"[{self._done}] {data['trial']}{phase} {data['outcome']} loss {told}; {so_far}")

    def ended(self, result: Mapping[str, Any]) -> None:
        """Print nothing: the command prints the result."""


class JsonLines:
    """The lines of `--progress json` on standard error; what no event has is null."""

    def __init__(self, name: str) -> None:
        self._name, self._waits = name, ""
        self._has_started = False
        #: attempt of each trial that was told of, and those that wait
        self._known: dict[int, int] = {}
        self._paused: set[int] = set()
        #: rounds of trials that were not told of yet, since they have ended meanwhile
        self._early: defaultdict[int, list[Mapping[str, Any]]] = defaultdict(list)
        self._rounds: dict[int, int | None] = {}

    def hear(self, event: Event) -> None:
        """Write the lines of an event."""
        if event.name == "status":
            self._status(event.data)
        elif event.name == "trial":
            self._trial(event.data)
        elif event.name == "round":
            number = event.data["number"]
            if self._known.get(number) == event.data["attempt"]:
                self._round(event.data)
            else:
                self._early[number].append(event.data)

    def ended(self, result: Mapping[str, Any]) -> None:
        """Write the last line."""
        best = result["best"]
        shown = best and {"trial": best["trial"], "val_loss": best["val_loss"]}
        done = sum(result["trials"].values())
        self._write("ended", result["state"], result["why"], done, shown, result["seconds"])

    def _status(self, data: Mapping[str, Any]) -> None:
        if data["state"] == QUEUED:
            if data["why"] and data["why"] != self._waits:
                self._waits = data["why"]
                self._write("message", f"sweep {self._name}: {QUEUED} ({self._waits})")
        elif not self._has_started:
            self._has_started = True
            self._write("started", data["run_id"], None, None, data["slots"])
        else:
            counts, best = dict(data["trials"]), data["best"]
            running, paused = counts.pop("running", 0), counts.pop("paused", 0)
            leader = best and {"trial": best["trial"], "val_loss": best["val_loss"]}
            self._write(
                "progress", sum(counts.values()), None, running, paused, leader, None,
                data["eta_seconds"],
                data.get("eta_range"),  # an older service has none
            )  # fmt: skip

    def _trial(self, data: Mapping[str, Any]) -> None:
        number, trial = data["number"], data["trial"]
        if self._known.get(number) != data["attempt"]:
            self._known[number] = data["attempt"]
            epochs = data["config"].get("epochs")
            self._rounds[number] = epochs and epochs * data["rounds_per_epoch"]
            self._write(
                "trial_started", trial, data["run_id"], data["phase"], data["attempt"],
                self._rounds[number], data["config"],
            )  # fmt: skip
        for early in self._early.pop(number, ()):
            self._round(early)
        if data["state"] == "paused":
            self._paused.add(number)
            self._write("trial_paused", trial, None)
        elif data["state"] == "running" and number in self._paused:
            self._paused.discard(number)
            self._write("trial_resumed", trial)
        elif data["state"] == "ended":
            self._paused.discard(number)
            outcome, loss = data["outcome"], data["val_loss"]
            self._write("trial_ended", trial, data["run_id"], outcome, None, loss, None)

    def _round(self, data: Mapping[str, Any]) -> None:
        metrics = {"val_loss": data["val_loss"]}
        rounds = self._rounds[data["number"]]
        self._write("round", data["trial"], data["round"], rounds, data["epoch"], metrics)

    def _write(self, event: str, *values: Any) -> None:
        write_line(sys.stderr, self._name, event, *values)
