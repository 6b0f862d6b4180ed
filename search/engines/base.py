"""What a sweep asks of the place where its trials run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from lstm_sweep.search.device import Device
from lstm_sweep.search.trial import Ended, Job, Message, Slot


@dataclass(frozen=True)
class SlotAdded:
    """A slot has come, and is free."""


@dataclass(frozen=True)
class SlotLost:
    """A slot has gone, and a trial on it with it; nothing else is heard of either."""

    reason: str


#: what happens on a slot
Event = Message | SlotAdded | SlotLost


@dataclass(frozen=True)
class GpuMemory:
    """Memory of a GPU, MiB."""

    used: int
    total: int


class Engine(Protocol):
    """Gives slots, which may come and go; on each of them one trial at a time.

    For each job started, `wait` gives its messages in order. The last of them is an `Ended`, also
    if the worker dies (`lost`) or is stopped from outside; after that the slot is free again. Only
    if the slot itself goes, `SlotLost` comes in its place.

    An engine is a context manager, which closes it.
    """

    @property
    def slots(self) -> tuple[Slot, ...]:
        """All places where a trial can run now, as far as `wait` has told."""

    def describe(self, slot: Slot) -> Device:
        """What a slot computes on, or did before it has gone."""

    def gpu_memory(self, slot: Slot) -> GpuMemory | None:
        """Memory of a slot's GPU as it is just now; None if there is no GPU, or nobody knows."""

    def warm_up(self, *, user_code: bool = False) -> None:
        """Get ready in the background, so that the first trial starts sooner.

        `user_code` says that trials run code of the user, which may need anything of Keras.
        """

    def start(self, job: Job) -> None:
        """Begin a trial in a fresh worker on its slot, which must be free.

        If the slot has gone meanwhile, the next `wait` says so.

        Raises:
            RuntimeError: the slot is taken, or the engine is closed.
        """

    def wait(self, timeout_s: float) -> Sequence[tuple[Slot, Event]]:
        """What has happened, as soon as something has; empty after `timeout_s` seconds."""

    def stop(self, slot: Slot, ended: Ended) -> None:
        """End the trial on a slot; `ended` comes through `wait`, unless it has ended by itself.

        Of several calls for one trial the first counts. A slot without a trial stays free.
        """

    def collect(self, slot: Slot) -> Path:
        """Folder, on this machine, with the files of the trial that was started last on a slot.

        They are whole once the trial has ended, or the engine is closed. Of a slot that is lost
        there may be none.

        Raises:
            OSError: there is no room for them here.
        """

    def close(self) -> None:
        """End every trial at once and let all processes go; a second call changes nothing.

        What trials have written until then can be collected still.
        """

    def __enter__(self) -> Self:
        """The engine itself."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the engine."""


class ClosesOnExit:
    """The part of an engine that makes it a context manager."""

    def close(self) -> None:
        """End every trial at once and let all processes go."""
        raise NotImplementedError

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
    """What the slots of an engine compute on, each kind of device once."""
    return list(dict.fromkeys(map(engine.describe, engine.slots)))
