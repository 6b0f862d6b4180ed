"""`Trial`: what one is, how far it has come, how it ends; what driver and worker say of it."""

from __future__ import annotations

import hashlib
import itertools
import math
import statistics
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from lstm_sweep.models.config import Config
from lstm_sweep.models.rounds import Progressed, RoundDone, epoch_text, epochs_after
from lstm_sweep.spaces.template.template import shown_label

if TYPE_CHECKING:
    from lstm_sweep.models.rounds import TemplateEvent, TrainingEvent


@dataclass(frozen=True, kw_only=True)
class Device:
    """What a slot computes on."""

    #: in words: `cpu: ` or `gpu: ` and the name of the CPU or of the card
    kind: str
    gpu: bool = False
    #: name of its node in a cluster; None on the driver's own machine
    node: str | None = None
    #: names of the instruction sets of the node's CPU; none where nobody knows
    cpu_flags: frozenset[str] = frozenset()
    #: CPU cores of the node that trials may use
    cores: int = 1
    #: bytes of the node's main memory; None where nobody knows
    memory: int | None = None


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

        Such a failure says nothing of a learning rate: a search takes it as if the trial had not
        been, but for what has run out of memory, which counts as bad. `diverged` is a finding.
        """
        return not self.ranks and self is not Outcome.DIVERGED

    def most_attempts(self, phase: Phase) -> int:
        """After how many attempts it fails: others may have had the memory, a ladder needs it."""
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


#: a loss that is larger, or below the negative of this, counts as infinite: squares of more would
#: overflow, and a database keeps infinities as the largest and the lowest number that it knows
LARGEST = 1e100


def comparable(loss: float | None) -> float | None:
    """The loss; None for NaN and one beyond `LARGEST`, so that neither is ever the best."""
    return loss if loss is not None and abs(loss) <= LARGEST else None


def shown_name(name: str) -> str:
    return shown_label(name) if name.count(":") in (1, 2) else name


def round_seconds(rounds: Iterable[Mapping[str, float]]) -> list[float]:
    return [one["round_seconds"] for one in rounds if "round_seconds" in one]


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


#: of a trial that has none
NO_SLOT = Slot(0)


@dataclass(frozen=True)
class Computing:
    """A trial has nothing to report, but its worker computes: it imports, traces or scores."""


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


#: number of a trial, and which attempt at it
Attempt = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One config trained with one seed: what it is, and what is known of it by now."""

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

    # what is known of it once it has begun

    run_id: str = ""
    slot: Slot = NO_SLOT
    #: metrics of each finished round, in order
    rounds: Sequence[dict[str, float]] = ()
    #: whether the last round still has to be logged
    unlogged: bool = False
    #: whether its config, or its template, trains no other round
    last: bool = False
    latest: Progressed | None = None
    ended: Ended | None = None
    #: when it began, in seconds of the sweep's clock
    began: float = 0.0
    #: when it went on after it had waited; None if it has not
    resumed: float | None = None
    #: for which it had a slot, by the end of its last stretch on one
    seconds: float = 0.0
    #: why it waits for a slot; empty while it has one, and once it has ended
    paused: str = ""
    #: whether it only waits since another sweep needs its slot: the search is not told then
    preempted: bool = False
    #: whether it has waited
    waited: bool = False
    #: of its network; 0 if that is not known
    parameters: int = 0

    @property
    def id(self) -> str:
        return f"{self.sweep}/{self.number}"

    @property
    def key(self) -> Attempt:
        return self.number, self.attempt

    @property
    def planned_rounds(self) -> int:
        every = self.config.epochs * self.rounds_per_epoch
        return every if self.most_rounds is None else min(every, self.most_rounds)

    def epochs_after(self, number: int) -> float:
        """Epochs that are trained after round `number`; a whole number if rounds are epochs."""
        return epochs_after(number, self.rounds_per_epoch)

    def epoch_text(self, number: int) -> str:
        return epoch_text(number, self.rounds_per_epoch)

    def planned(self) -> Trial:
        return Trial(
            sweep=self.sweep, number=self.number, config=self.config, seed=self.seed,
            point=self.point, attempt=self.attempt, phase=self.phase, objective=self.objective,
            rounds_per_epoch=self.rounds_per_epoch, steps=self.steps, most_rounds=self.most_rounds,
        )  # fmt: skip

    def as_driven(self) -> Trial:
        """The same without what only its run says."""
        return Trial(**{one.name: getattr(self, one.name) for one in fields(Trial)})

    def next_attempt(self) -> Trial:
        return replace(self.planned(), attempt=self.attempt + 1)

    @cached_property
    def best_so_far(self) -> list[float]:
        """Lowest validation loss after each round, nats; infinite as long as there is none."""
        losses = (math.inf if loss is None else loss for loss in self.val_losses)
        return list(itertools.accumulate(losses, min))

    @cached_property
    def val_losses(self) -> list[float | None]:
        """Validation loss of each round, nats; None for one that has no finite loss."""
        return [comparable(one.get("val_loss")) for one in self.rounds]

    @cached_property
    def round_seconds(self) -> list[float]:
        return round_seconds(self.rounds)

    @cached_property
    def usual_round_seconds(self) -> float | None:
        """Median of the seconds of the rounds but the first, which includes tracing; or None."""
        later = self.round_seconds[1:]
        return statistics.median(later) if later else None

    @cached_property
    def best_round(self) -> int | None:
        scored = [(x, number) for number, x in enumerate(self.val_losses, 1) if x is not None]
        return min(scored)[1] if scored else None

    @cached_property
    def best_loss(self) -> float | None:
        """The loss by the trial's objective, so far; finite, or None."""
        if self.objective.returned:
            return comparable(self.ended.loss) if self.ended else None
        return self.rounds[self.best_round - 1]["val_loss"] if self.best_round else None

    @property
    def outcome(self) -> str:
        return self.ended.outcome if self.ended else ""

    @property
    def reason(self) -> str:
        return self.ended.reason if self.ended else ""

    @property
    def rounds_done(self) -> int:
        return len(self.rounds)

    @property
    def epochs(self) -> float:
        return self.epochs_after(self.rounds_done)

    @property
    def best_epoch(self) -> float | None:
        return self.epochs_after(self.best_round) if self.best_round else None

    @property
    def is_open(self) -> bool:
        return not self.ended

    @property
    def state(self) -> str:
        """Its outcome, or `running` or `paused` if it goes on."""
        return self.outcome or ("paused" if self.paused else "running")

    @property
    def failed(self) -> bool:
        """Whether it has ended without a result that counts; a rung of the ladder may diverge."""
        if self.ended is None or self.ended.outcome.ranks:
            return False
        return (self.phase, self.ended.outcome) != (Phase.LADDER, Outcome.DIVERGED)

    @property
    def curve(self) -> list[tuple[float, float | None]]:
        """Epochs that were trained and validation loss after each round."""
        return [(self.epochs_after(n), loss) for n, loss in enumerate(self.val_losses, 1)]

    @cached_property
    def hyperparameters(self) -> dict[str, int | float | str]:
        return {shown_name(name): value for name, value in self.config.to_dict().items()}

    @property
    def ranked_loss(self) -> float | None:
        return self.best_loss if self.ended and self.ended.outcome.ranks else None

    def with_round(self, done: RoundDone) -> Self:
        """Note a round; the last one of all is to be logged together with the outcome.

        Rounds since its last checkpoint are reported again by a trial that had waited.
        """
        if done.number <= len(self.rounds):
            return replace(self, latest=None)
        unlogged = done.number >= self.planned_rounds
        rounds = (*self.rounds, done.metrics)
        last = unlogged or done.last
        return replace(self, latest=None, rounds=rounds, unlogged=unlogged, last=last)

    def with_end(self, ended: Ended, now: float) -> Self:
        seconds = self.seconds_by(now)
        return replace(self, ended=ended, seconds=seconds, paused="", preempted=False)

    def with_pause(self, paused: Paused, now: float) -> Self:
        return replace(
            self, paused=paused.reason, preempted=paused.preempted, waited=True,
            seconds=self.seconds_by(now), latest=None,
        )  # fmt: skip

    def with_slot(self, slot: Slot, now: float) -> Self:
        began, resumed = (self.began, now) if self.waited else (now, None)
        return replace(self, slot=slot, paused="", preempted=False, began=began, resumed=resumed)

    @property
    def stretch_began(self) -> float:
        return self.began if self.resumed is None else self.resumed

    def seconds_by(self, now: float) -> float:
        """For how long it had a slot by now; where it waits, by the time it was paused."""
        return self.seconds if self.paused else self.seconds + now - self.stretch_began


AnyTrial = TypeVar("AnyTrial", bound=Trial)


def ranked(trials: Iterable[AnyTrial], *, of_running: bool = False) -> list[AnyTrial]:
    """Trials with a loss that ranks, best first; `of_running`: also those that have not ended."""
    found = [
        one
        for one in trials
        if one.ranked_loss is not None
        or (of_running and not one.ended and one.best_loss is not None)
    ]
    return sorted(found, key=lambda one: (one.best_loss, not one.ended, one.number))


class Training(ABC):
    """What a worker does for a job; a value that is sent to it."""

    #: whether it is code of the user, which may need anything of Keras
    runs_user_code: bool = False
    #: a folder of the driver's machine that it reads; None if it reads none
    reads: Path | None

    def reading(self, folder: Path) -> Self:
        """The same with a copy of this folder, on another machine."""
        return self

    def load(self) -> None:  # noqa: B027
        """Import what has to be there before the backend is made ready."""

    @abstractmethod
    def events(self, job: Job) -> Iterator[TrainingEvent | TemplateEvent]:
        """Train the trial; yield what it reports meanwhile."""

    def place_of(self, error: Exception) -> str:
        """Where in the user's code an error has come from; empty if it has not."""
        return ""


@dataclass(frozen=True, kw_only=True)
class TrialFiles:
    """What a trial writes."""

    #: folder of the trial: log, best weights, and what its next attempt goes on with
    folder: Path

    @property
    def weights(self) -> Path:
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
