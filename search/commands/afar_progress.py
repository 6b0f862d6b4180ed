"""The progress of a sweep that a service runs: lines for people, or lines of JSON."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lstm_sweep.search.client.listening import Event
from lstm_sweep.search.commands.json_lines import write_line
from lstm_sweep.search.times import QUIET_S, STANDING, pruned_text, time_left_text
from lstm_sweep.search.trial import Outcome

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


@dataclass
class _Standing:
    """How a trial stands that has not ended."""

    trial: str
    attempt: int
    phase: str = "search"
    #: `running` or `paused`
    state: str = "running"
    #: lowest validation loss of its rounds, and epochs that were trained
    loss: float | None = None
    epoch: float = 0.0

    @property
    def name(self) -> str:
        """The trial, with its phase unless that is the search."""
        return _named(self.trial, self.phase)


class Lines:
    """A line for each trial that ends and for each reason to wait, and after a while without one.

    Trials that have waited and are pruned are counted.

    The best trial is the one that the service names, which may go on, or one that has ended since.
    """

    def __init__(
        self, name: str, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name, self._say, self._clock = name, say, clock
        #: when the last line was said, and whether one is due, if the next event says nothing
        self._spoke, self._is_due = clock(), False
        self._done, self._waits = 0, ""
        #: trials that have waited and are pruned, since the last line
        self._pruned = 0
        #: trials that have not ended, by number
        self._trials: dict[int, _Standing] = {}
        #: losses of trials that have ended with one that counts, and the best trial
        self._ended: dict[str, float] = {}
        self._best: tuple[str, float] | None = None
        #: what the service has said of the time left, and when
        self._left: tuple[float, float | None] | None = None

    def hear(self, event: Event) -> None:
        """Say why the sweep waits, how a trial has ended, or how those stand that run."""
        was_due, self._is_due = self._is_due, False
        spoke, data = self._spoke, event.data
        if event.name == "status":
            self._status(data)
        elif event.name == "trial":
            self._trial(data)
        elif event.name == "round":
            one = self._standing(data)
            one.epoch, loss = data["epoch"], data["val_loss"]
            if loss is not None:
                one.loss = loss if one.loss is None else min(one.loss, loss)
        running = [one for one in self._trials.values() if one.state == "running"]
        if not running or self._clock() - self._spoke < QUIET_S or spoke != self._spoke:
            return
        # not at once, since the last round of a trial comes just before its end
        if was_due:
            self._tell(f"[{self._done}] {self._standing_text(running)}")
        else:
            self._is_due = True

    def ended(self, result: Mapping[str, Any]) -> None:
        """Say what was counted only; the command prints the result."""
        if self._pruned:
            self._say(pruned_text(self._pruned))

    def _status(self, data: Mapping[str, Any]) -> None:
        if data["state"] == QUEUED and data["why"] != self._waits:
            self._waits = data["why"]
            self._tell(f"sweep {self._name}: {QUEUED}{f' ({self._waits})' if self._waits else ''}")
        best = data.get("best")
        self._best = best and (best["trial"], best["val_loss"])
        self._left = self._clock(), data.get("eta_seconds")

    def _trial(self, data: Mapping[str, Any]) -> None:
        if data["state"] != "ended":
            one = self._standing(data)
            one.state, one.phase = data["state"], data["phase"]
            return
        before = self._trials.pop(data["number"], None)
        self._done += 1
        trial, outcome, loss = data["trial"], data["outcome"], data["val_loss"]
        counts = outcome in list(Outcome) and Outcome(outcome).ranks
        if counts and loss is not None:
            self._ended[trial] = loss
            if self._best is None or loss < self._best[1]:
                self._best = (trial, loss)
        elif self._best and self._best[0] == trial:
            self._best = min(self._ended.items(), key=lambda known: known[1], default=None)
        if outcome == Outcome.PRUNED and before and before.state == "paused":
            self._pruned += 1
            return
        words = f"{_named(trial, data['phase'])} {str(outcome).replace('_', ' ')}"
        words += "" if loss is None else f", loss {loss:.4f}"
        if not counts:
            words += f"; {self._best_text()}"
        elif loss is not None and self._best == (trial, loss):
            words += ", the best so far"
        self._tell(f"[{self._done}] {words}")

    def _standing(self, data: Mapping[str, Any]) -> _Standing:
        """How the trial of an event stands; a new attempt begins anew."""
        one = self._trials.get(data["number"])
        if one is None or one.attempt != data["attempt"]:
            one = self._trials[data["number"]] = _Standing(data["trial"], data["attempt"])
        return one

    def _best_text(self) -> str:
        """The best trial so far, and whether it goes on."""
        if self._best is None:
            return "no result yet"
        trial, loss = self._best
        states = (one.state for one in self._trials.values() if one.trial == trial)
        state = next(states, None)
        return f"best {trial} {loss:.4f}{f' ({state})' if state else ''}"

    def _standing_text(self, running: Sequence[_Standing]) -> str:
        """How the first running trials stand, and the sweep."""
        told = [
            f"{one.name} at epoch {round(one.epoch, 2):g}"
            + ("" if one.loss is None else f", loss {one.loss:.4f}")
            for one in running[:STANDING]
        ]
        if more := len(running) - len(told):
            told.append(f"and {more:,} more")
        paused = sum(one.state == "paused" for one in self._trials.values())
        about = [f"{paused} paused"] if paused else []
        about += filter(None, (self._best_text(), self._left_text()))
        return "; ".join([*told, ", ".join(about)])

    def _left_text(self) -> str:
        """The time left by now; empty if the service has said nothing of it."""
        if self._left is None:
            return ""
        at, seconds = self._left
        return time_left_text(seconds and max(0.0, seconds - (self._clock() - at)))

    def _tell(self, line: str) -> None:
        self._spoke = self._clock()
        if self._pruned:
            self._say(pruned_text(self._pruned))
            self._pruned = 0
        self._say(line)


def _named(trial: str, phase: str) -> str:
    return trial + ("" if phase == "search" else f" ({phase})")


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
