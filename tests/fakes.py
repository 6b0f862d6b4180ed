"""Stand-ins for engines and displays; the real ones are tested beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from search.trial import Ended, EpochDone, Job, Message, Outcome, Slot


class Silent:
    """A display that shows nothing."""

    def update(self, state: Any) -> None:
        """Say nothing."""

    def trial_ended(self, course: Any, state: Any) -> None:
        """Say nothing."""

    def say(self, text: str) -> None:
        """Say nothing."""


class ScriptedEngine:
    """An engine with one slot whose trials report given losses, an epoch at each `wait`."""

    slots = (Slot(0),)

    def __init__(
        self,
        losses: dict[int, list[float]],
        *,
        lose_first: int = 0,
        interrupt: bool = False,
        endings: dict[int, Ended] | None = None,
        watch: Callable[[EpochDone], None] = lambda message: None,
    ) -> None:
        self._losses = losses
        self._lose = lose_first
        self._interrupt = interrupt
        #: how trials end that do not end complete
        self._endings = endings or {}
        #: called with each epoch before it is reported
        self._watch = watch
        self._messages: list[Message] = []

    def warm_up(self, *, foreign: bool = False) -> None:
        """Nothing to warm."""

    def start(self, job: Job) -> None:
        """Write weights, and lay out what will be reported."""
        job.weights.parent.mkdir(parents=True, exist_ok=True)
        job.weights.write_bytes(b"weights")
        if self._lose:
            self._lose -= 1
            self._messages = [Ended(Outcome.LOST, "its worker was killed by SIGKILL")]
            return
        losses = self._losses[job.trial.number]
        reports = [EpochDone(n, _metrics(loss)) for n, loss in enumerate(losses, start=1)]
        ended = self._endings.get(job.trial.number, Ended(Outcome.COMPLETE))
        self._messages = [*reports, ended]

    def wait(self, timeout_s: float) -> list[tuple[Slot, Message]]:
        """The next message."""
        if self._interrupt and len(self._messages) == 1:
            raise KeyboardInterrupt
        if not self._messages:
            return []
        message = self._messages.pop(0)
        if isinstance(message, EpochDone):
            self._watch(message)
        return [(self.slots[0], message)]

    def stop(self, slot: Slot, ended: Ended) -> None:
        """End the trial."""
        self._messages = [ended]

    def close(self) -> None:
        """Nothing to end."""


def _metrics(loss: float) -> dict[str, float]:
    return {"train_loss": loss, "val_loss": loss, "val_accuracy": 0.5, "val_top5_accuracy": 0.9}
