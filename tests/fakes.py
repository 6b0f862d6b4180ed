"""Stand-ins for engines; the real ones are tested beside them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lstm_sweep.models.data.windows import Scoring
from lstm_sweep.models.rounds import RoundDone
from lstm_sweep.search.driver.state import SweepState, with_attempts
from lstm_sweep.search.engines.base import Engine, Event, SlotAdded, SlotLost
from lstm_sweep.search.engines.worker import CorpusTraining
from lstm_sweep.search.values.trial import Device, Ended, Job, Message, Outcome, Paused, Slot, Trial


class ScriptedEngine(Engine):
    """An engine with one slot whose trials report given losses, an epoch at each `wait`."""

    slots: tuple[Slot, ...] = (Slot(0),)
    device = Device(kind="cpu: scripted")

    def __init__(
        self,
        losses: dict[int, list[float]],
        *,
        lose_first: int = 0,
        interrupt: bool = False,
        endings: dict[int, Ended] | None = None,
        watch: Callable[[RoundDone], None] = lambda message: None,
    ) -> None:
        self._losses = losses
        self._lose = lose_first
        self._interrupt = interrupt
        #: how trials end that do not end complete
        self._endings = endings or {}
        #: called with each epoch before it is reported
        self._watch = watch
        self._messages: list[Message] = []
        self._folder = Path("/none")

    def describe(self, slot: Slot) -> Device:
        """The same device for each slot."""
        return self.device

    def warm_up(self, *, user_code: bool = False) -> None:
        """Do nothing."""

    def start(self, job: Job) -> None:
        """Write weights, and lay out what will be reported."""
        self._folder = job.folder
        job.weights.parent.mkdir(parents=True, exist_ok=True)
        job.weights.write_bytes(b"weights")
        if self._lose:
            self._lose -= 1
            self._messages = [Ended(Outcome.LOST, "its worker was killed by SIGKILL")]
            return
        losses = self._losses[job.trial.number]
        reports = [RoundDone(n, _metrics(loss)) for n, loss in enumerate(losses, start=1)]
        ended = self._endings.get(job.trial.number, Ended(Outcome.COMPLETE))
        self._messages = [*reports, ended]

    def wait(self, timeout_s: float) -> Sequence[tuple[Slot, Event]]:
        """The next message."""
        if self._interrupt and len(self._messages) == 1:
            raise KeyboardInterrupt
        if not self._messages:
            return []
        message = self._messages.pop(0)
        if isinstance(message, RoundDone):
            self._watch(message)
        return [(self.slots[0], message)]

    def stop(self, slot: Slot, ended: Ended | Paused) -> None:
        """End the trial."""
        self._messages = [ended]

    def collect(self, slot: Slot) -> Path:
        """The folder of the trial that was started last."""
        return self._folder

    def close(self) -> None:
        """Do nothing."""


def _metrics(loss: float) -> dict[str, float]:
    return {"train_loss": loss, "val_loss": loss, "val_accuracy": 0.5, "val_top5_accuracy": 0.9}


class ScriptedCluster(ScriptedEngine):
    """An engine whose slots come and go: at each `wait` every trial reports an epoch or its end.

    `changes` are slots that come or go before the trials report, by the number of the `wait`.
    """

    def __init__(
        self,
        losses: dict[int, list[float]],
        slots: tuple[Slot, ...],
        changes: dict[int, list[tuple[Slot, SlotAdded | SlotLost]]],
    ) -> None:
        super().__init__(losses)
        self.slots = slots
        self._changes = changes
        self._waits = 0
        self._saying: dict[Slot, list[Message]] = {}
        self._folders: dict[Slot, Path] = {}
        #: number and attempt of each trial that was started, and where
        self.started: list[tuple[int, int, Slot]] = []
        #: most trials that ran at once
        self.busiest = 0

    def describe(self, slot: Slot) -> Device:
        """Each node has a CPU of its own."""
        return Device(kind=f"cpu: of {slot.node}", node=slot.node)

    def start(self, job: Job) -> None:
        """Lay out what will be reported."""
        assert job.slot in self.slots and job.slot not in self._saying
        super().start(job)
        self._saying[job.slot], self._messages = self._messages, []
        self._folders[job.slot] = job.folder
        self.started.append((job.trial.number, job.trial.attempt, job.slot))
        self.busiest = max(self.busiest, len(self._saying))

    def wait(self, timeout_s: float) -> Sequence[tuple[Slot, Event]]:
        """Changes, and then the next message of each trial."""
        self._waits += 1
        heard: list[tuple[Slot, Event]] = []
        for slot, change in self._changes.get(self._waits, []):
            heard.append((slot, change))
            if isinstance(change, SlotAdded):
                self.slots = (*self.slots, slot)
            else:
                self.slots = tuple(one for one in self.slots if one != slot)
                self._saying.pop(slot, None)
        for slot, messages in list(self._saying.items()):
            heard.append((slot, messages.pop(0)))
            if not messages:
                del self._saying[slot]
        return heard

    def stop(self, slot: Slot, ended: Ended | Paused) -> None:
        """End the trial on a slot."""
        if slot in self._saying:
            self._saying[slot] = [ended]

    def collect(self, slot: Slot) -> Path:
        """The folder of the trial that was started last there."""
        return self._folders[slot]


# MLflow's client with its requests counted, which can be made to wait or to fail


class CountedClient:
    """A client whose requests are counted by name."""

    def __init__(self, client: Any) -> None:
        self._client, self.asked = client, Counter[str]()
        #: what the next requests wait for
        self.may = threading.Event()
        self.may.set()
        #: what they raise
        self.fault: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **more: Any) -> Any:
            self.asked[name] += 1
            assert self.may.wait(60)
            if self.fault:
                raise self.fault
            return getattr(self._client, name)(*arguments, **more)

        return call

    @property
    def count(self) -> int:
        """How many requests there were."""
        return self.asked.total()


# States of sweeps for tests, made as sweeps make them


def job_of(trial: Trial, slot: Slot, folder: Path = Path("/none")) -> Job:
    """A job whose training nobody begins."""
    training = CorpusTraining(folder, Scoring(1, 0))
    return Job(trial=trial, slot=slot, training=training, folder=folder)


def with_trials(
    state: SweepState,
    finished: Iterable[Trial] = (),
    running: Iterable[Trial] = (),
    waiting: Iterable[Trial] = (),
) -> SweepState:
    """A sweep that is as new, but for trials that have ended, that run, and that wait."""
    known = with_attempts(state, tuple(finished), tuple(waiting))
    return replace(known, running={progress.slot: progress for progress in running})
