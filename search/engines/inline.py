"""Runs trials in this process, one after the other, so that a debugger can step through them."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

from typing_extensions import override

from lstm_sweep.search.engines import hardware, worker
from lstm_sweep.search.engines.base import Engine
from lstm_sweep.search.values.device import Device
from lstm_sweep.search.values.trial import Ended, Job, Message, Paused, Slot


class InlineEngine(Engine):
    """One slot, this process; each `wait` trains up to the next message."""

    slots = (Slot(0),)

    def __init__(self) -> None:
        self._running: Iterator[Message] | None = None
        #: `ended` of the first call of `stop`
        self._stopped: Ended | Paused | None = None
        #: folder of the trial that was started last
        self._folder: Path | None = None
        self._closed = False

    def describe(self, slot: Slot) -> Device:
        """The CPU of this machine; no GPU is used."""
        return hardware.describe(None)

    def warm_up(self, *, user_code: bool = False) -> None:
        """Do nothing: the first trial imports Keras."""

    def start(self, job: Job) -> None:
        """Register a trial; calls of `wait` train it."""
        if self._closed:
            raise RuntimeError("the engine is closed")
        if self._running:
            raise RuntimeError(f"{job.slot} is taken")
        job.folder.mkdir(parents=True, exist_ok=True)
        self._running, self._stopped, self._folder = worker.run(job), None, job.folder

    def wait(self, timeout_s: float) -> list[tuple[Slot, Message]]:
        """Train up to the trial's next message, and return it; the timeout is ignored."""
        if not self._running:
            return []
        message = self._stopped or next(self._running)
        if isinstance(message, Ended | Paused):
            self._end()
        return [(self.slots[0], message)]

    def stop(self, slot: Slot, ended: Ended | Paused) -> None:
        """Let the next `wait` return `ended`, without further training."""
        self._stopped = self._stopped or ended

    def collect(self, slot: Slot) -> Path:
        """Folder of the trial that was started last."""
        if self._folder is None:
            raise LookupError(f"no trial was started on {slot}")
        return self._folder

    @override
    def close(self) -> None:
        self._closed = True
        self._end()

    def _end(self) -> None:
        """Let the training undo what it has changed in this process."""
        if isinstance(self._running, Generator):
            self._running.close()
        self._running = None
