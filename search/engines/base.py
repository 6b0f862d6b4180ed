"""What a sweep asks of the place where its trials run."""

from __future__ import annotations

from typing import Protocol

from lstm_sweep.search.trial import Ended, Job, Message, Slot


class Engine(Protocol):
    """Gives slots; on each of them one trial at a time.

    For each job started, `wait` returns its messages in order, the last of them an `Ended`, also if
    the worker dies (`lost`) or is stopped from outside. After that the slot is free again.
    """

    @property
    def slots(self) -> tuple[Slot, ...]:
        """All places where a trial can run."""

    def warm_up(self, *, foreign: bool = False) -> None:
        """Get ready in the background, so that the first trial starts sooner.

        `foreign` says that trials run code of the user, which may need anything of Keras.
        """

    def start(self, job: Job) -> None:
        """Begin a trial on its slot, which must be free."""

    def wait(self, timeout_s: float) -> list[tuple[Slot, Message]]:
        """Messages that have come, as soon as there is one; empty after `timeout_s` seconds."""

    def stop(self, slot: Slot, ended: Ended) -> None:
        """End the trial on a slot; `ended` comes through `wait`, unless it has ended by itself."""

    def close(self) -> None:
        """End every trial at once and let all processes go; nothing can be started after that."""
