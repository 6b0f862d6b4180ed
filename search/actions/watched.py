"""A sweep that a service drives, as the state that observers of one here are shown."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from typing_extensions import override

from lstm_sweep.search.actions import connection
from lstm_sweep.search.actions.connection import Event
from lstm_sweep.search.actions.sweeps import SweepResult, SweepStatusReport
from lstm_sweep.search.driver.observer import Observer, Viewer
from lstm_sweep.search.driver.state import SweepState, rank
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.values.progress import TrialProgress
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.stop_reason import Stop, StopReason, SweepStatus
from lstm_sweep.search.values.trial import Slot

#: why a sweep has ended, by how
REASONS = {
    SweepStatus.FAILED: StopReason.FAILED,
    SweepStatus.PAUSED: StopReason.PAUSED,
    SweepStatus.STOPPED: StopReason.ASKED,
    SweepStatus.INTERRUPTED: StopReason.INTERRUPTED,
}


@dataclass(frozen=True)
class RemoteSlot(Slot):
    """A slot of which the service does not say where it is."""

    @override
    def __str__(self) -> str:
        return f"slot {self.index + 1}"


class Watched:
    """Tells an observer of a sweep by the events of the service that drives it."""

    def __init__(
        self,
        name: str,
        spec: SweepSpec,
        observer: Observer,
        read: Callable[[Any, Any], Any] = connection.read_value,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`read` reads a value of a class from an event."""
        self._observer, self._read, self._clock = Viewer(observer), read, clock
        self._state = SweepState(name=name, spec=spec, slots=(), now=clock(), began=clock())
        #: what has happened before the state of the sweep was told
        self._before: list[Event] | None = []
        self._waits = ""
        #: rounds of trials that were not told of yet, since they have ended meanwhile
        self._early: dict[int, tuple[dict[str, float], ...]] = {}

    def hear(self, event: Event) -> None:
        """Show what has happened."""
        self._state = replace(self._state, now=self._clock())
        if self._before is None:
            self._take(event)
        else:
            self._before.append(event)
        if status := status_in(event):
            self._status(self._read(SweepStatusReport, status))
        if self._before is None:
            self._observer.update(self._state)

    def _take(self, event: Event) -> None:
        if event.name == "round":
            self._round(event.data)
        elif event.name == "trial":
            self._trial(self._read(TrialRecord, event.data))
        elif event.name == "snapshot":
            for trial in event.data["trials"]:
                record = self._read(TrialRecord, trial)
                if self._is_news(record):
                    self._trial(record, tuple({"val_loss": loss} for loss in trial["losses"]))

    def end(self, result: SweepResult) -> None:
        """Show the result of the sweep."""
        status = SweepStatus(result.state) if result.has_ended else SweepStatus.INTERRUPTED
        closed = Stop(REASONS.get(status, StopReason.TRIALS), result.why)
        began = self._clock() - result.seconds
        self._start()
        self._state = replace(self._state, now=self._clock(), began=began, closed=closed)
        self._observer.ended(self._state)

    def _start(self) -> None:
        """Show that the sweep runs, and what has happened in it before."""
        if self._before is not None:
            before, self._before = self._before, None
            self._observer.started(self._state)
            for event in before:
                self._take(event)

    def _status(self, found: SweepStatusReport) -> None:
        if found.state == "queued":
            if (found.why or "") != self._waits:
                self._waits = found.why or ""
                why = f" ({self._waits})" if self._waits else ""
                self._observer.said(f"sweep {self._state.name}: queued{why}")
            return
        slots = self._slots(found.slots or 0)
        left, now = found.eta_seconds, self._state.now
        self._state = replace(
            self._state,
            run_id=found.run_id,
            slots=slots,
            expected_end=None if left is None else now + left,
        )
        if self._before is not None and found.started:
            gone = (datetime.now(UTC) - found.started).total_seconds()
            self._state = replace(self._state, began=now - max(0.0, gone))
        self._start()

    def _slots(self, count: int) -> tuple[Slot, ...]:
        """So many slots at least, the known ones first."""
        known = self._state.slots
        return (*known, *map(RemoteSlot, range(len(known), count)))

    def _is_news(self, record: TrialRecord) -> bool:
        """Whether a trial has not ended as it is known here."""
        known = self._state.ends.get(record.trial.number)
        return known is None or known.trial.attempt != record.trial.attempt

    def _trial(self, record: TrialRecord, rounds: Sequence[dict[str, float]] = ()) -> None:
        number, slot, before = record.trial.number, self._slot_of(record), self._known(record)
        self._forget(number)
        rounds = rounds or (before.rounds if before else self._early.pop(number, ()))
        progress = TrialProgress(
            record.trial, record.run_id, slot, None, rounds,
            began=before.began if before else self._state.now,
            waited=bool(before and before.waited),
        )  # fmt: skip
        if record.state == "paused":
            why = f"after epoch {record.trial.epoch_text(len(rounds))}"
            waiting = replace(progress, paused=why, waited=True)
            self._state = replace(self._state, paused={**self._state.paused, number: waiting})
        elif record.state == "running":
            running = {**self._state.running, slot: progress}
            self._state = replace(self._state, running=running, slots=self._slots(slot.index + 1))
        else:
            self._ended(progress, record)

    def _ended(self, progress: TrialProgress, record: TrialRecord) -> None:
        state = self._state
        progress = replace(progress, ended=record.ended, seconds=record.seconds)
        number = record.trial.number
        ranked = state.ranked
        if progress.ranked_loss is not None:
            ranked = tuple(sorted((*ranked, progress), key=rank))
        self._state = replace(
            state,
            finished=(*state.finished, progress),
            ends={**state.ends, number: progress},
            ranked=ranked,
        )
        self._observer.trial_ended(progress, self._state)

    def _round(self, data: Mapping[str, Any]) -> None:
        done, number = {"val_loss": data["val_loss"]}, data["number"]
        for slot, progress in self._state.running.items():
            if progress.trial.number == number and progress.trial.attempt == data["attempt"]:
                changed = replace(progress, rounds=(*progress.rounds, done))
                self._state = replace(self._state, running={**self._state.running, slot: changed})
                return
        if paused := self._state.paused.get(number):
            changed = replace(paused, rounds=(*paused.rounds, done))
            self._state = replace(self._state, paused={**self._state.paused, number: changed})
        else:
            self._early[number] = (*self._early.get(number, ()), done)

    def _known(self, record: TrialRecord) -> TrialProgress | None:
        """What is known of the attempt of a trial that has not ended."""
        known = self._state.open_trial(record.trial.number)
        return known if known and known.trial.attempt == record.trial.attempt else None

    def _slot_of(self, record: TrialRecord) -> Slot:
        """The slot of a trial, or one that is free."""
        for slot, progress in self._state.running.items():
            if progress.trial.number == record.trial.number:
                return slot
        free = (slot for slot in self._state.slots if slot not in self._state.running)
        return next(free, RemoteSlot(len(self._state.slots)))

    def _forget(self, number: int) -> None:
        """Take a trial out, which is told of anew."""
        state = self._state
        running = {s: one for s, one in state.running.items() if one.trial.number != number}
        paused = {n: one for n, one in state.paused.items() if n != number}
        self._state = replace(state, running=running, paused=paused)
        if ended := state.ends.get(number):
            self._state = replace(
                self._state,
                finished=tuple(one for one in state.finished if one is not ended),
                ends={n: one for n, one in state.ends.items() if n != number},
                ranked=tuple(one for one in state.ranked if one is not ended),
            )


def status_in(event: Event) -> Mapping[str, Any] | None:
    """The state of a sweep that an event says, if it does."""
    status: Mapping[str, Any] | None
    status = event.data if event.name == "status" else event.data.get("status")
    return status if event.name in ("status", "snapshot") else None
