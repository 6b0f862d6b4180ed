"""Trials as values: what one is, how it may end, and what driver and worker say to each other."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from lstm_sweep.models.config import Config
from lstm_sweep.models.rounds import epoch_text, epochs_after
from lstm_sweep.search.objective import VALIDATION_LOSS, Objective

if TYPE_CHECKING:
    from lstm_sweep.models.network.events import TemplateEvent, TrainingEvent


#: metrics of a round that depend on the trial alone, not on the machine's speed
RESULTS = ("train_loss", "val_loss", "val_accuracy", "val_top5_accuracy")

#: a loss that is larger, or below the negative of this, counts as infinite: squares of more would
#: overflow, and a database keeps infinities as the largest and the lowest number that it knows
LARGEST = 1e100


class Outcome(StrEnum):
    """How a trial ended."""

    COMPLETE = "complete"
    PRUNED = "pruned"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    HUNG = "hung"
    ERROR = "error"
    LOST = "lost"
    STOPPED = "stopped"

    @property
    def status(self) -> str:
        """MLflow's word for it."""
        if self in (Outcome.COMPLETE, Outcome.PRUNED):
            return "FINISHED"
        return "KILLED" if self in (Outcome.LOST, Outcome.STOPPED) else "FAILED"

    @property
    def ranks(self) -> bool:
        """Whether the trial's best loss may be compared with those of others."""
        return self in (Outcome.COMPLETE, Outcome.PRUNED, Outcome.STOPPED)


class Phase(StrEnum):
    """Which part of a sweep a run belongs to."""

    LADDER = "ladder"
    SEARCH = "search"
    CONFIRM = "confirm"
    BASELINE = "baseline"
    RERUN = "rerun"


def comparable(loss: float | None) -> float | None:
    """A loss as it takes part in comparisons: None for none, for NaN and for one beyond `LARGEST`.

    So neither infinity nor NaN is ever the best.
    """
    return loss if loss is not None and abs(loss) <= LARGEST else None


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

    @property
    def id(self) -> str:
        """`SWEEP/NUMBER`."""
        return f"{self.sweep}/{self.number}"

    @property
    def rounds(self) -> int:
        """Rounds of the trial, at most."""
        return self.config.epochs * self.rounds_per_epoch

    def epochs_after(self, number: int) -> float:
        """Epochs that are trained after round `number`; a whole number if rounds are epochs."""
        return epochs_after(number, self.rounds_per_epoch)

    def epoch_text(self, number: int) -> str:
        """The same for people."""
        return epoch_text(number, self.rounds_per_epoch)

    def next_attempt(self) -> Self:
        """The same trial, to be tried again."""
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

    def load(self) -> None:
        """Import what has to be there before the backend is made ready."""

    def events(self, job: Job) -> Iterator[TrainingEvent | TemplateEvent]:
        """Train, and say how it goes."""

    def place_of(self, error: Exception) -> str:
        """Where in the user's code an error has come from; empty if it has not."""


@dataclass(frozen=True, kw_only=True)
class TrialFiles:
    """What a trial writes."""

    #: folder of the trial: log, best weights, and what its next attempt goes on with
    folder: Path

    @property
    def weights(self) -> Path:
        """Where the best round's network is kept."""
        return self.folder / "model.keras"

    @property
    def inputs(self) -> Path:
        """Where some of what a template's network was trained on is kept."""
        return self.folder / "inputs.npz"

    @property
    def checkpoint(self) -> Path:
        """Where the training is kept while it goes on."""
        return self.folder / "checkpoint.npz"

    @property
    def log(self) -> Path:
        """Where everything goes that libraries print."""
        return self.folder / "log.txt"


@dataclass(frozen=True, kw_only=True)
class Job(TrialFiles):
    """All that a worker needs to train one trial, and where it writes."""

    trial: Trial
    slot: Slot
    training: Training
    #: seconds between two checkpoints, at least
    checkpoint_every_s: float = 5.0


@dataclass(frozen=True)
class Computing:
    """A trial has nothing to report yet, but its worker computes: it imports, builds or traces."""


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
    #: whether a template trains no other round, as far as it knows
    last: bool = False


@dataclass(frozen=True)
class Ended:
    """A trial has ended and its slot is free."""

    outcome: Outcome
    reason: str = ""
    #: whether the sweep was broken off, so that the trial goes on when the sweep does
    unfinished: bool = False
    #: what a template has returned
    loss: float | None = None


Message = Computing | Progressed | RoundDone | Ended


class _Results:
    """What follows from the rounds and the end of a trial."""

    trial: Trial
    #: metrics of each finished round, in order
    rounds: Sequence[dict[str, float]]
    ended: Ended | None

    @property
    def best_so_far(self) -> list[float]:
        """Lowest validation loss after each round, nats; infinite as long as there is none."""
        losses = (math.inf if loss is None else loss for loss in self.val_losses)
        return list(itertools.accumulate(losses, min))

    @property
    def val_losses(self) -> list[float | None]:
        """Validation loss of each round, nats; None for one that has no finite loss."""
        return [comparable(one.get("val_loss")) for one in self.rounds]

    @property
    def round_seconds(self) -> list[float]:
        """Seconds that each round took."""
        return [one["round_seconds"] for one in self.rounds if "round_seconds" in one]

    @property
    def best_round(self) -> int | None:
        """Number of the round with the lowest validation loss."""
        losses = enumerate(self.val_losses, start=1)
        scored = ((loss, number) for number, loss in losses if loss is not None)
        return min(scored, default=(None, None))[1]

    @property
    def best_loss(self) -> float | None:
        """The loss by the trial's objective, so far; finite, or None."""
        if self.trial.objective.returned:
            return comparable(self.ended.loss) if self.ended else None
        return self.rounds[self.best_round - 1]["val_loss"] if self.best_round else None

    @property
    def ranked_loss(self) -> float | None:
        """The loss that this trial competes with; None if it has none."""
        return self.best_loss if self.ended and self.ended.outcome.ranks else None


@dataclass(frozen=True)
class TrialSnapshot(_Results):
    """What a search knows of a trial, as it was at one moment."""

    trial: Trial
    slot: Slot
    rounds: tuple[dict[str, float], ...]
    ended: Ended | None
    #: whether its config, or its template, trains no other round
    last: bool
    #: when it began, in seconds of the driver's clock
    began: float
    seconds: float


@dataclass(frozen=True)
class TrialProgress(_Results):
    """What is known of a trial while it runs, and when it has ended."""

    trial: Trial
    run_id: str
    slot: Slot
    #: what a worker was given; None for a trial that was read back from the store
    job: Job | None
    #: metrics of each finished round, in order
    rounds: Sequence[dict[str, float]] = ()
    #: whether the last round still has to be logged
    unlogged: bool = False
    #: whether its config, or its template, trains no other round
    last: bool = False
    latest: Progressed | None = None
    ended: Ended | None = None
    #: when it began, in seconds of the driver's clock
    began: float = 0.0
    seconds: float = 0.0
    #: whether a worker was started for it
    started: bool = False
    #: seconds that one of its rounds was expected to take when it was started; 0 if unknown
    predicted_round_s: float = 0.0

    def with_round(self, done: RoundDone) -> Self:
        """Note a round; the last one of all is to be logged together with the outcome."""
        unlogged = done.number >= self.trial.rounds
        rounds = (*self.rounds, done.metrics)
        last = unlogged or done.last
        return replace(self, latest=None, rounds=rounds, unlogged=unlogged, last=last)

    def with_end(self, ended: Ended, now: float) -> Self:
        """Note how it has ended, and when."""
        return replace(self, ended=ended, seconds=now - self.began)

    def snapshot(self) -> TrialSnapshot:
        """What a search is told of it."""
        return TrialSnapshot(
            self.trial, self.slot, tuple(self.rounds), self.ended, self.last, self.began,
            self.seconds,
        )  # fmt: skip
