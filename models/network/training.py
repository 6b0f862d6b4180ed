"""Trains one trial: rounds of training and scoring, checkpoints, and the best weights on disk.

Keras's `fit` is not used: on TensorFlow each of its epochs ends by waiting for a sleeping `tf.data`
thread, which takes up to half of the time and makes every measurement wrong.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from lstm_sweep.models import backend
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.cpu.program_types import Networks, Program
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.data.labelled import LabelledCorpus
from lstm_sweep.models.data.streams import training_epoch
from lstm_sweep.models.data.windows import ClassEpoch, Epoch, Indices
from lstm_sweep.models.network import checkpoint, lstm
from lstm_sweep.models.network.checkpoint import Checkpoint, CheckpointSettings, write_network
from lstm_sweep.models.network.evaluation import evaluate
from lstm_sweep.models.network.program import program_of
from lstm_sweep.models.rounds import (
    Diverged,
    Progressed,
    RoundDone,
    RoundPart,
    TrainingEvent,
    epoch_of,
    epoch_text,
    epochs_after,
    part_of_epoch,
)

#: a trial has diverged if its loss is above this multiple of the loss of a uniform prediction
DIVERGED_AT = 2.0
#: training steps over which the loss is averaged for that comparison
DIVERGED_STEPS = 10


class LossMeter:
    """Mean training loss of a round so far; detects divergence.

    `verdict` is empty until a loss is not finite or the mean of the last `DIVERGED_STEPS` losses is
    above `limit`; then it says which.
    """

    def __init__(self, limit: float) -> None:
        self.steps = 0
        self.verdict = ""
        self._limit = limit
        self._sum = 0.0
        self._weight = 0.0
        self._recent: list[float] = []

    @property
    def mean(self) -> float:
        return self._sum / max(self._weight, 1.0)

    def add(self, loss: float, weight: float) -> None:
        """Add the mean loss of a step, in nats, over `weight` targets."""
        self.steps += 1
        self._sum += loss * weight
        self._weight += weight
        self._recent = [*self._recent[1 - DIVERGED_STEPS :], loss]
        recent = sum(self._recent) / len(self._recent)
        enough = len(self._recent) == DIVERGED_STEPS
        if not math.isfinite(loss) or (enough and recent > self._limit):
            self.verdict = f"step {self.steps}: {excess('training', recent, self._limit)}"


def excess(kind: str, loss: float, limit: float) -> str:
    if not math.isfinite(loss):
        return f"the {kind} loss is {loss}"
    uniform = limit / DIVERGED_AT  # ln(alphabet)
    times = f"{DIVERGED_AT:g} times that of a uniform prediction"
    return f"the {kind} loss of {loss:.4g} is over {times} ({uniform:.3g})"


#: seconds that one training call should take, and symbols in it at most
CALL_S, CALL_SYMBOLS = 0.25, 1 << 22


#: a config and the data that it is trained on
OwnConfig = TypeVar("OwnConfig", bound=TrialConfig)
Data = TypeVar("Data", Corpus, LabelledCorpus)


@dataclass
class TrainingLoop(ABC, Generic[OwnConfig, Data]):
    """The training of one network, whose events tell of its progress.

    Each epoch is divided into `rounds_per_epoch` rounds (`models/rounds.py`), which changes nothing
    of its training. After each round the network is scored on `targets`. If it is the best so far,
    the model that is scored is written to `weights`, atomically.

    With `checkpoints`, a training that was interrupted continues after the last round in the
    checkpoint: earlier rounds are reported again, and on a CPU the later ones have the same bits as
    without the interruption.
    """

    config: OwnConfig
    corpus: Data
    #: positions of the validation split, or numbers of its sequences
    targets: Indices
    seed: int
    weights: Path
    checkpoints: CheckpointSettings | None = None
    #: folder of the graph cache (`models/cpu/graph_cache.py`), shared by all trials
    graphs: Path | None = None
    clock: Callable[[], float] = time.perf_counter
    rounds_per_epoch: int = 1
    #: steps of the optimizer after which it ends, also within a round; None: after all epochs
    steps: int | None = None
    #: rounds after which it ends
    most_rounds: int | None = None

    @abstractmethod
    def _built(self, *, mixed: bool) -> Networks: ...

    @cached_property
    def _program(self) -> Program:
        return program_of(self._networks, self.config, self.seed, self.graphs)

    @abstractmethod
    def _epoch_of(self, number: int) -> Epoch | ClassEpoch:
        """What is trained in an epoch; it depends on nothing else that was drawn before."""

    @abstractmethod
    def _score(self) -> dict[str, float]:
        """Scores on `targets`, one of which is `loss`, in nats."""

    @property
    @abstractmethod
    def _epoch_symbols(self) -> int: ...

    def __post_init__(self) -> None:
        backend.run_operations_alone()
        self._networks: Networks = self._built(mixed=not backend.own_arithmetic())
        lstm.compile_for_training(self._networks.trained, self.config)
        optimizer: Any = self._networks.trained.optimizer
        optimizer.build(self._networks.trained.trainable_variables)
        #: all that is in a checkpoint
        self._variables = [
            *self._networks.trained.variables,
            *optimizer.variables,
            *self._networks.averages,
        ]
        self._epoch: tuple[int, Epoch | ClassEpoch] | None = None
        #: steps of the epochs so far, if they are counted
        self._epoch_steps: list[int] = []
        #: steps in the next training call
        self._call_steps = 1
        self._limit = DIVERGED_AT * math.log(self._networks.scored.output_shape[-1])
        #: metrics of the rounds so far, and the lowest loss of them with the weights that had it
        self._rounds: list[dict[str, float]] = []
        self._best, self._best_weights = math.inf, list[NDArray[Any]]()
        found = self.checkpoints if self.weights.exists() else None
        #: loss of the network in `weights`
        self._written = found.best_loss if found else math.inf
        #: when the last checkpoint was written, and for how long
        self._saved, self._took = self.clock(), 0.0

    def events(self) -> Iterator[TrainingEvent]:
        """Train, from the checkpoint on if there is one."""
        done = self.restore()
        for number, metrics in enumerate(done, start=1):
            known = self.done(number, metrics, repeated=number < len(done))
            yield known
            if known.last:
                return
        rounds = self.config.epochs * self.rounds_per_epoch
        if self.most_rounds is not None:
            rounds = min(rounds, self.most_rounds)
        for number in range(len(done) + 1, rounds + 1):
            for event in self.round(number):
                yield event
                if isinstance(event, Diverged) or (isinstance(event, RoundDone) and event.last):
                    return

    def restore(self) -> list[dict[str, float]]:
        """Restore the checkpoint, if there is one; return the metrics of its rounds."""
        found = self.checkpoints and checkpoint.load(self.checkpoints.file, self._identity)
        shapes = [tuple(one.shape) for one in self._variables]
        if not found or [array.shape for array in found.state] != shapes:
            return []
        losses = [metrics["val_loss"] for metrics in found.rounds]
        self._best, self._best_weights = min(losses), found.best
        _assign(self._networks.scored.weights, found.best)
        if self._best < self._written:
            self._written = self._best
            write_network(self._networks.scored, self.weights, 1 + losses.index(self._best))
        _assign(self._variables, found.state)
        self._rounds = found.rounds
        return list(found.rounds)

    @property
    def _identity(self) -> str:
        identity = f"{self.config.describe()} {self.seed} {self.corpus.digest}"
        if self.rounds_per_epoch > 1:
            identity += f" {self.rounds_per_epoch} rounds"
        return identity if self.steps is None else f"{identity} {self.steps} steps"

    def round(self, number: int) -> Iterator[TrainingEvent]:
        """Train and score one round; the last event is `RoundDone` or `Diverged`."""
        began = self.clock()
        windows = self._windows_of(epoch_of(number, self.rounds_per_epoch))
        whole = part_of_epoch(number, self.rounds_per_epoch, windows.steps)
        part = whole if self.steps is None else whole.up_to(self.steps - self._before(whole))
        where = f"epoch {epoch_text(number, self.rounds_per_epoch)}"
        meter = LossMeter(self._limit)
        for share in self._train(windows, part, meter):
            if meter.verdict:
                yield Diverged(f"{where}: {meter.verdict}")
                return
            yield Progressed(number, share, meter.mean)
        trained = self.clock()
        # a few steps may be high by chance; those of a whole epoch are not
        enough = meter.steps >= DIVERGED_STEPS or part == RoundPart(part.epoch, 0, windows.steps)
        if enough and not meter.mean <= self._limit:
            yield Diverged(f"{where}: {excess('training', meter.mean, self._limit)}")
            return
        self._program.sync()
        scoring = self.clock()
        result = self._score()
        scoring_s = self.clock() - scoring
        if not math.isfinite(result["loss"]):
            yield Diverged(f"{where}: {excess('validation', result['loss'], self._limit)}")
            return
        if is_best := result["loss"] < self._best:
            self._best = result["loss"]
            if self.checkpoints:
                self._best_weights = _values(self._networks.scored.weights)
        symbols = meter.steps * self._step_symbols(windows.steps)
        before = self._epoch_symbols * (part.epoch - 1)
        metrics = {
            # a config with fewer steps than rounds has rounds without a step
            **({"train_loss": meter.mean} if meter.steps else {}),
            **{f"val_{name}": value for name, value in result.items()},
            "symbols_per_second": symbols / max(trained - began, 1e-9),
            "round_seconds": self.clock() - began,
            "scoring_seconds": scoring_s,
            "epoch": (
                epochs_after(number, self.rounds_per_epoch)
                if part == whole
                else part.epoch - 1 + part.end / windows.steps
            ),
            "symbols_seen": float(before + self._epoch_symbols * part.end // windows.steps),
        }
        saved = self._save_if_due(metrics)
        if is_best and self._best <= self._written:
            self._written = self._best
            write_network(self._networks.scored, self.weights, number)
        yield self.done(number, metrics, saved=saved)
        checkpoint.confirm(self.weights)

    def done(
        self,
        number: int,
        metrics: dict[str, float],
        *,
        repeated: bool = False,
        saved: bool = False,
    ) -> RoundDone:
        """The event that a round is done, the last one if all steps have been taken by then."""
        if self.steps is None:
            return RoundDone(number, metrics, repeated, saved=saved)
        windows = self._windows_of(epoch_of(number, self.rounds_per_epoch))
        part = part_of_epoch(number, self.rounds_per_epoch, windows.steps)
        last = self._before(part) + part.end >= self.steps
        return RoundDone(number, metrics, repeated and not last, last, saved)

    def _step_symbols(self, steps: int) -> float:
        """Symbols of a step, on average, in an epoch of so many steps."""
        return self._epoch_symbols / steps

    def _train(
        self, windows: Epoch | ClassEpoch, part: RoundPart, meter: LossMeter
    ) -> Iterator[float]:
        """Take all steps of a part of an epoch; yield the share of it done after each call.

        A call has as many steps as take about `CALL_S`.
        """
        most = max(1, CALL_SYMBOLS // (self.config.batch_size * self.config.sequence_length))
        done = part.begin
        while done < part.end:
            steps = min(self._call_steps, part.end - done)
            began = self.clock()
            losses, weights = self._program.train(windows.select(done, done + steps))
            fitting = steps * CALL_S / max(self.clock() - began, 1e-9)
            self._call_steps = int(min(max(1, fitting), 4 * self._call_steps, most))
            done += steps
            for loss, weight in zip(losses.tolist(), weights.tolist(), strict=True):
                meter.add(loss, weight)
                if meter.verdict:
                    break
            yield (done - part.begin) / (part.end - part.begin)

    def _save_if_due(self, metrics: dict[str, float]) -> bool:
        """Write a checkpoint after a round if one is due; whether it was written."""
        if not self.checkpoints:
            return False
        self._rounds.append(metrics)
        began = self.clock()
        if began - self._saved < self.checkpoints.due_after(self._took):
            return False
        now = Checkpoint(self._rounds, _values(self._variables), self._best_weights)
        now.save(self.checkpoints.file, self._identity)
        self._saved = self.clock()
        self._took = self._saved - began
        return True

    def _before(self, part: RoundPart) -> int:
        """Steps of all epochs before that of a part."""
        known = self._epoch_steps
        while len(known) < part.epoch - 1:
            known.append(self._epoch_of(len(known) + 1).steps)
        return sum(known[: part.epoch - 1])

    def _windows_of(self, epoch: int) -> Epoch | ClassEpoch:
        """What an epoch trains, which is kept from one of its rounds to the next."""
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = epoch, self._epoch_of(epoch)
        return self._epoch[1]


@dataclass
class Training(TrainingLoop[TrialConfig, Corpus]):
    """The training of a network that predicts the next symbol."""

    #: whether targets that follow each other are predicted in one window
    #: (`evaluation.predictions`)
    share_windows: bool = False

    @override
    def _built(self, *, mixed: bool) -> Networks:
        return lstm.build(self.config, len(self.corpus.alphabet), mixed=mixed)

    @override
    def _epoch_of(self, number: int) -> Epoch:
        return training_epoch(self.corpus.train, self.config, self.seed, number)

    @override
    def _score(self) -> dict[str, float]:
        return evaluate(
            self._program,
            self.config,
            self.corpus,
            self.corpus.validation,
            self.targets,
            share_windows=self.share_windows,
        )

    @cached_property
    def _epoch_symbols(self) -> int:
        return len(self.corpus.train)

    @override
    def _step_symbols(self, steps: int) -> float:
        return self.config.batch_size * self.config.sequence_length


def _values(variables: Iterable[Any]) -> list[NDArray[Any]]:
    return [np.array(variable.numpy()) for variable in variables]


def _assign(variables: Iterable[Any], values: Iterable[NDArray[Any]]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
