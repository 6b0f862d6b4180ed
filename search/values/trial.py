"""Trials as values: what one is, how it may end, and what driver and worker say to each other."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from lstm_sweep.models.config import Config
from lstm_sweep.models.rounds import epoch_text, epochs_after

if TYPE_CHECKING:
    from lstm_sweep.models.rounds import TemplateEvent, TrainingEvent


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What trials are compared by: how the loss of one is taken, and what it is measured in."""

    #: what it is called beside numbers
    name: str
    #: whether it is what the trial returns at its end, not the lowest validation loss of its rounds
    returned: bool = False
    #: whether it is a mean over symbols in nats
    nats_per_symbol: bool = False

    def bits_per_symbol(self, loss: float | None) -> float | None:
        """The loss in bits per symbol; None if it is not measured so."""
        return None if loss is None or not self.nats_per_symbol else loss / math.log(2)

    @property
    def round_name(self) -> str:
        return "validation loss" if self.returned else self.name


#: lowest validation loss of a trial's rounds, nats per symbol
VALIDATION_LOSS = Objective(name="validation loss (nats per symbol)", nats_per_symbol=True)
#: what a trial returns, in whatever unit
RETURNED_LOSS = Objective(name="loss", returned=True)


#: metrics of a round that depend on the trial alone, not on the machine's speed
RESULTS = ("train_loss", "val_loss", "val_accuracy", "val_top5_accuracy")


class Outcome(StrEnum):
    """How a trial ended."""

    COMPLETE = "complete"
    #: others were better
    PRUNED = "pruned"
    #: the time of the sweep, or of its search, was over
    OUT_OF_TIME = "out_of_time"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    HUNG = "hung"
    ERROR = "error"
    LOST = "lost"
    #: its sweep was stopped, paused or interrupted, or has failed
    STOPPED = "stopped"

    def status(self, *, has_result: bool) -> str:
        """Status of the trial's run in MLflow; only what has failed looks like a failure there."""
        if self is Outcome.STOPPED and not has_result:
            return "KILLED"
        return "FINISHED" if self.ranks else "FAILED"

    @property
    def ranks(self) -> bool:
        """Whether the trial's best loss may be compared with those of others."""
        return self in (Outcome.COMPLETE, Outcome.PRUNED, Outcome.OUT_OF_TIME, Outcome.STOPPED)

    @property
    def is_accident(self) -> bool:
        """Whether it has failed for want of something in the machine or the program.

        Such a failure says nothing of how good a config is, nor its learning rate: a search takes
        it as if the trial had not been. `diverged` is the one failure that is a finding.
        """
        return not self.ranks and self is not Outcome.DIVERGED

    def most_attempts(self, phase: Phase) -> int:
        """After how many attempts a trial of a phase has failed, if the last one ends so.

        Memory may have been used up by another program, and a ladder cannot do without a rate.
        """
        if self is Outcome.LOST:
            return 3
        again = phase is Phase.LADDER or self is Outcome.OUT_OF_MEMORY
        return 2 if self.is_accident and again else 1


class Phase(StrEnum):
    """Which part of a sweep a run belongs to."""

    LADDER = "ladder"
    SEARCH = "search"
    CONFIRM = "confirm"
    BASELINE = "baseline"
    RERUN = "rerun"


def trial_seed(sweep_seed: int, number: int) -> int:
    """Seed of a trial, from 0 to 2^31 - 1: a pure function of the sweep's seed and its number."""
    text = f"lstm-sweep trial {sweep_seed} {number}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "big") >> 1


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One config to be trained with one seed."""

    sweep: str
    number: int
    config: Config
    seed: int
    #: the Hyperopt point behind the config: raw number of each varying field
    point: dict[str, float] = field(default_factory=dict)
    #: 1, and one more each time the trial was lost
    attempt: int = 1
    phase: Phase = Phase.SEARCH
    objective: Objective = VALIDATION_LOSS
    #: rounds into which each epoch is divided
    rounds_per_epoch: int = 1
    #: steps of the optimizer after which it ends, also within a round; None: after all epochs
    steps: int | None = None
    #: rounds after which it ends; None: after all epochs
    most_rounds: int | None = None

    @property
    def id(self) -> str:
        return f"{self.sweep}/{self.number}"

    @property
    def rounds(self) -> int:
        """Rounds of the trial, at most."""
        every = self.config.epochs * self.rounds_per_epoch
        return every if self.most_rounds is None else min(every, self.most_rounds)

    def epochs_after(self, number: int) -> float:
        """Epochs that are trained after round `number`; a whole number if rounds are epochs."""
        return epochs_after(number, self.rounds_per_epoch)

    def epoch_text(self, number: int) -> str:
        """Epochs that are trained after round `number`, for people."""
        return epoch_text(number, self.rounds_per_epoch)

    def next_attempt(self) -> Self:
        return replace(self, attempt=self.attempt + 1)


@dataclass(frozen=True)
class Slot:
    """A place where one trial can run."""

    index: int
    #: CPU core that a worker is pinned to; None on a GPU
    core: int | None = None
    #: number or UUID of the GPU; None on a CPU
    gpu: str | None = None
    #: name of the node in a cluster; None on the driver's own machine
    node: str | None = None

    def __str__(self) -> str:
        own = f"gpu {self.gpu}" if self.gpu is not None else f"core {self.core}"
        if self.node is not None:
            return f"{self.node}, {own}"
        return "this process" if self.gpu is None and self.core is None else own


class Training(Protocol):
    """What a worker does for a job; a value that is sent to it."""

    @property
    def runs_user_code(self) -> bool:
        """Whether it is code of the user, which may need anything of Keras."""

    @property
    def reads(self) -> Path | None:
        """A folder of the driver's machine that it reads; None if it reads none."""

    def reading(self, folder: Path) -> Self:
        """The same with a copy of this folder, on another machine."""

    def load(self) -> None:
        """Import what has to be there before the backend is made ready."""

    def events(self, job: Job) -> Iterator[TrainingEvent | TemplateEvent]:
        """Train the trial; yield what it reports meanwhile."""

    def place_of(self, error: Exception) -> str:
        """Where in the user's code an error has come from; empty if it has not."""


@dataclass(frozen=True, kw_only=True)
class TrialFiles:
    """What a trial writes."""

    #: folder of the trial: log, best weights, and what its next attempt goes on with
    folder: Path

    @property
    def weights(self) -> Path:
        """The network of the best round."""
        return self.folder / "model.keras"

    @property
    def inputs(self) -> Path:
        """Some of what a template's network was trained on."""
        return self.folder / "inputs.npz"

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.npz"

    @property
    def log(self) -> Path:
        """Everything that libraries print."""
        return self.folder / "log.txt"


@dataclass(frozen=True, kw_only=True)
class Job(TrialFiles):
    """All that a worker needs to train one trial, and where it writes."""

    trial: Trial
    slot: Slot
    training: Training
    #: seconds after which the end of a round writes a checkpoint, unless it takes long to write
    checkpoint_every_s: float = 5.0
    #: best loss of the network that it has written, if it goes on after it was paused
    best_loss: float = math.inf


@dataclass(frozen=True)
class Computing:
    """A trial has nothing to report, but its worker computes: it imports, traces or scores."""


@dataclass(frozen=True)
class Progressed:
    """A trial is part way through a round."""

    number: int
    share: float
    loss: float


@dataclass(frozen=True)
class RoundDone:
    """A trial has finished a round; its best weights so far are on disk."""

    number: int
    metrics: dict[str, float]
    #: whether it was trained by an earlier attempt, as were later ones
    repeated: bool = False
    #: whether no round follows though its trial has more, as far as is known
    last: bool = False
    #: whether a checkpoint was written after it, from which the trial can go on
    saved: bool = False


@dataclass(frozen=True)
class Ended:
    """A trial has ended and its slot is free."""

    outcome: Outcome
    reason: str = ""
    #: whether the sweep was broken off, so that the trial goes on when the sweep does, or there was
    #: no room for it where it was to run; such an attempt does not count
    unfinished: bool = False
    #: what a template has returned
    loss: float | None = None


@dataclass(frozen=True)
class Paused:
    """A trial waits with its checkpoint, and its slot is free; it may go on later."""

    reason: str
    #: whether another sweep needs its slot, so that it goes on as soon as there is one again
    preempted: bool = False


Message = Computing | Progressed | RoundDone | Ended | Paused
