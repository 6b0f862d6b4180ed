"""Trials in this process, one after the other: for a debugger."""

from __future__ import annotations

from collections.abc import Iterator

from lstm_sweep.search.engines import worker
from lstm_sweep.search.trial import Ended, Job, Message, Slot


class InlineEngine:
    """One slot, this process; each `wait` trains up to the next message."""

    def __init__(self) -> None:
        self._running: tuple[Slot, Iterator[Message]] | None = None

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The one slot."""
        return (Slot(0),)

    def warm_up(self, *, foreign: bool = False) -> None:
        """Nothing to do: Keras is imported by the first trial."""

    def start(self, job: Job) -> None:
        """Begin a trial; nothing is computed before `wait`."""
        if self._running:
            raise RuntimeError(f"{job.slot} is taken")
        job.folder.mkdir(parents=True, exist_ok=True)
        self._running = job.slot, worker.run(job)

    def wait(self, timeout_s: float) -> list[tuple[Slot, Message]]:
        """Train up to the next message, however long that takes."""
        if not self._running:
            return []
        slot, messages = self._running
        message = next(messages)
        if isinstance(message, Ended):
            self._running = None
        return [(slot, message)]

    def stop(self, slot: Slot, ended: Ended) -> None:
        """End the trial before its next step."""
        if self._running:
            self._running = slot, iter([ended])

    def close(self) -> None:
        """Forget the trial."""
        self._running = None
