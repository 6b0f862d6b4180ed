"""`Engine`: runs trials on slots; `InlineEngine` runs them in this process."""

from __future__ import annotations

import contextlib
import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from typing_extensions import override

from lstm_sweep.search.engines import hardware
from lstm_sweep.search.process.files import replace_text
from lstm_sweep.search.values.trial import Device, Ended, Job, Message, Paused, Slot

#: variable that names the file with the quota of a driver that a service has started
QUOTA = "LSTM_SWEEP_QUOTA"
#: suffixes of the files in which a driver tells its service how many slots it could use, and how
#: many it has that it is to give back, since its trials end their rounds first
DEMAND, SURPLUS = ".demand", ".surplus"


#: seconds for which a driver that had a slot too many asks for no more
CONTENT_S = 120.0


class Quota:
    """What a driver may use, by the file that its service writes, and what it says beside it."""

    def __init__(self, file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._file, self._clock = file, clock
        self._content_until = 0.0
        #: what was said last in each file; None: nothing
        self._said: dict[str, int | None] = {}
        self._say(SURPLUS, None)  # an earlier driver of this sweep may have had too many

    @classmethod
    def given(cls) -> Self | None:
        """That of this driver, as its service names it; None without a service."""
        file = os.environ.get(QUOTA)
        return cls(Path(file)) if file else None

    def most(self) -> int:
        return (read_quota(self._file) or (1 << 30,))[0]

    def why(self) -> str:
        _, why, _ = read_quota(self._file) or (0, "", 0.0)
        return why or "the service gives it no more slots"

    def demand(self, count: int, slots: int) -> None:
        """Say how many of the slots could be used; if all of them, perhaps more could be.

        A slot of a cluster costs an agent to be started, so one that was of no use is not asked
        for again soon.
        """
        now = self._clock()
        if count < slots:
            self._content_until = now + CONTENT_S
        self._say(DEMAND, count if now < self._content_until else None)

    def surplus(self, used: int) -> int:
        count = max(0, used - self.most())
        self._say(SURPLUS, count or None)
        return count

    def _say(self, suffix: str, count: int | None) -> None:
        if suffix in self._said and self._said[suffix] == count:
            return
        self._said[suffix] = count
        file = self._file.with_suffix(suffix)
        with contextlib.suppress(OSError):
            if count is None:
                file.unlink(missing_ok=True)
            else:
                replace_text(file, str(count))


def read_quota(file: Path) -> tuple[int, str, float] | None:
    """What `write_quota` has written; None if there is nothing of that, which allows all slots."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return int(found["slots"]), str(found["why"]), float(found["since"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_quota(file: Path, slots: int, why: str, since: float) -> None:
    """Let the driver that watches a file use so many slots at most.

    `since` is when it got its first slot or lost its last one, in seconds since 1970.
    """
    replace_text(file, json.dumps({"slots": slots, "why": why, "since": since}))


@dataclass(frozen=True)
class SlotAdded:
    """A slot was added, and is free."""


@dataclass(frozen=True)
class SlotLost:
    """A slot is gone, with the trial on it; neither has another event, unless it is added again."""

    reason: str
    #: whether people know: it was lost for this reason shortly before, or so was all of its node
    told: bool = False


#: what happens on a slot
Event = Message | SlotAdded | SlotLost


class Engine(ABC):
    """Runs one trial at a time on each of its slots, which may be added and lost.

    `wait` returns the messages of each started job in order. The last of them is an `Ended`, also
    if the worker dies (`lost`) or is stopped, or it is `Paused`; the slot is free after it. If the
    slot is lost, its last event is a `SlotLost` instead. One that shares slots with other sweeps
    overrides `reserve` and `release`; one with a quota has that, and overrides `staying`.
    """

    #: all slots, as of the last call of `wait`
    slots: tuple[Slot, ...]
    #: what a service lets the sweep use; None: all slots
    quota: Quota | None = None

    @abstractmethod
    def describe(self, slot: Slot) -> Device:
        """What a slot computes on; also of a slot that is lost."""

    def warm_up(self, *, user_code: bool = False) -> None:  # noqa: B027
        """Prepare in the background, for trials that may use any part of Keras if `user_code`."""

    def reserve(self, slot: Slot) -> str:
        """Keep a free slot until a trial is started on it, or until `release`; empty if it is kept.

        Else why it cannot be had: other sweeps use it, or this one has all that it may have.
        """
        return ""

    def release(self) -> None:  # noqa: B027
        """Give back the slots that were reserved and on which no trial was started."""

    def refusal(self) -> str:
        return "" if self.quota is None or self.quota.most() else self.quota.why()

    def surplus(self) -> int:
        return self.quota.surplus(self.staying()) if self.quota else 0

    def staying(self) -> int:
        return 0

    def demand(self, count: int) -> None:
        if self.quota:
            self.quota.demand(count, len(self.slots))

    @abstractmethod
    def start(self, job: Job) -> None:
        """Start a trial in a fresh worker on its slot; a `RuntimeError` if that is not free.

        `job.folder` is a folder on the driver's machine, created if it is missing; the driver
        removes it. It may have files of an earlier attempt, or of the trial before it was paused.
        An engine that runs workers elsewhere gives them a folder of its own, with these files.
        """

    @abstractmethod
    def wait(self, timeout_s: float) -> Sequence[tuple[Slot, Event]]:
        """Wait for events, at most `timeout_s` seconds, or not at all if no trial runs."""

    @abstractmethod
    def stop(self, slot: Slot, ended: Ended | Paused) -> None:
        """Stop the trial on a slot, if there is one; its last message is `ended` if none was.

        Only the first call for a trial counts. One that is `Paused` goes on from its checkpoint if
        `start` is given the same folder.
        """

    @abstractmethod
    def collect(self, slot: Slot) -> Path:
        """The `folder` of the job that was started last on a slot, with the files of its trial.

        They are complete once the trial has ended or the engine is closed. If the slot was lost, or
        the files cannot be had, the folder may be empty, or have the checkpoint alone; it has no
        network of an earlier round than the trial has reported.

        Raises:
            LookupError: no trial was started on this slot.
            OSError: there is no room for the files on this machine.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop all trials and processes; files can be collected. A second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def devices(engine: Engine) -> list[Device]:
    return list(dict.fromkeys(map(engine.describe, engine.slots)))


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

    @override
    def describe(self, slot: Slot) -> Device:
        return hardware.describe(None)

    @override
    def start(self, job: Job) -> None:
        if self._closed:
            raise RuntimeError("the engine is closed")
        if self._running:
            raise RuntimeError(f"{job.slot} is taken")
        from lstm_sweep.search.engines import worker

        job.folder.mkdir(parents=True, exist_ok=True)
        self._running, self._stopped, self._folder = worker.run(job), None, job.folder

    @override
    def wait(self, timeout_s: float) -> list[tuple[Slot, Message]]:
        if not self._running:
            return []
        message = self._stopped or next(self._running)
        if isinstance(message, Ended | Paused):
            self._end()
        return [(self.slots[0], message)]

    @override
    def stop(self, slot: Slot, ended: Ended | Paused) -> None:
        self._stopped = self._stopped or ended

    @override
    def collect(self, slot: Slot) -> Path:
        if self._folder is None:
            raise LookupError(f"no trial was started on {slot}")
        return self._folder

    @override
    def close(self) -> None:
        self._closed = True
        self._end()

    def _end(self) -> None:
        if isinstance(self._running, Generator):
            self._running.close()
        self._running = None
