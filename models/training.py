"""One trial from first window to best weights.

Stock `fit` is avoided on purpose: on TensorFlow each of its epochs ends by waiting for a sleeping
`tf.data` thread, which costs up to half of the time and spoils every measurement.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import backend, checkpoint, lstm
from models.checkpoint import Checkpoint
from models.config import TrialConfig
from models.corpus import Corpus, Split
from models.program import Program, program_of
from models.scoring import Floats, log_softmax, score
from models.windows import Epoch as Windows
from models.windows import Indices, TrainingWindows, scoring_windows

#: a trial whose loss is this many times that of guessing has diverged
DIVERGED_AT = 2.0
#: training steps over which a loss is averaged before it is called diverged
DIVERGED_STEPS = 10
#: windows in one call of a scoring, and numbers in one of its arrays, at most
SCORING_ROWS, SCORING_NUMBERS = 256, 1 << 24
#: seconds that one call with many training steps should take, and symbols in it at most
CALL_S, CALL_SYMBOLS = 0.25, 1 << 22

Logits = Callable[[NDArray[np.int32]], NDArray[np.float32]]


@dataclass(frozen=True)
class Progress:
    """Part of an epoch is done."""

    epoch: int
    #: share of the epoch's steps, 0 to 1
    share: float
    #: mean training loss of the epoch so far, nats
    loss: float


@dataclass(frozen=True)
class Epoch:
    """An epoch is done and scored; its weights are on disk if they are the best so far."""

    number: int
    metrics: dict[str, float]
    #: whether it was trained before a break, and others after it
    repeated: bool = False


@dataclass(frozen=True)
class Resting:
    """Where a training is kept while it goes on, and how often."""

    file: Path
    #: seconds between two checkpoints, at least; they are written at the end of an epoch
    every_s: float = 5.0


@dataclass(frozen=True)
class Diverged:
    """The loss is not finite, or far above that of guessing; nothing follows."""

    epoch: int
    reason: str


Event = Progress | Epoch | Diverged


def train(
    config: TrialConfig,
    corpus: Corpus,
    targets: Indices,
    seed: int,
    weights: Path,
    resting: Resting | None = None,
    graphs: Path | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Event]:
    """Train the network of `config` and report as it goes.

    After each epoch it is scored on `targets` of the validation split, and if it is better than
    before, the network that predicts the next symbol is written to `weights`, whole or not at all.

    With `resting`, a training that was broken off goes on after the last epoch that is on disk:
    the epochs before are reported again, and on a CPU those that follow have the same bits.

    `graphs` is a folder that trials share to save time (`models/graphs.py`).
    """
    backend.run_operations_alone()
    networks = lstm.build(config, len(corpus.alphabet), mixed=not backend.own_arithmetic())
    lstm.compile_for_training(networks.trained, config)
    memory = _Memory(networks, resting, f"{config.to_dict()} {seed} {corpus.digest}", clock)
    program = program_of(networks, config, seed, graphs)
    windows = TrainingWindows(corpus.train, config, seed)
    pace = _Pace(max(1, CALL_SYMBOLS // (config.batch_size * config.sequence_length)), clock)
    limit = DIVERGED_AT * math.log(len(corpus.alphabet))
    done = memory.recall(weights)
    for number, metrics in enumerate(done, start=1):
        yield Epoch(number, metrics, repeated=number < len(done))
    best = min((metrics["val_loss"] for metrics in done), default=math.inf)
    for number in range(len(done) + 1, config.epochs + 1):
        begin = clock()
        meter, epoch = _Meter(limit), windows.epoch(number)
        for share in _train_epoch(program, epoch, meter, pace):
            if meter.verdict:
                yield Diverged(number, f"epoch {number}: {meter.verdict}")
                return
            yield Progress(number, share, meter.mean)
        trained = clock()
        if not meter.mean <= limit:
            yield Diverged(number, f"epoch {number}: {_beyond('training', meter.mean, limit)}")
            return
        program.settle()
        result = evaluate(program.logits, config, corpus, corpus.validation, targets)
        if not math.isfinite(result["loss"]):
            yield Diverged(
                number, f"epoch {number}: {_beyond('validation', result['loss'], limit)}"
            )
            return
        if result["loss"] < best:
            best = result["loss"]
            save_whole(networks.scored, weights)
            memory.note_best()
        symbols = meter.steps * config.batch_size * config.sequence_length
        metrics = {
            "train_loss": meter.mean,
            **{f"val_{name}": value for name, value in result.items()},
            "symbols_per_second": symbols / max(trained - begin, 1e-9),
            "epoch_seconds": clock() - begin,
        }
        memory.note_epoch(metrics)
        yield Epoch(number, metrics)


class _Memory:
    """Keeps a training on disk, and takes it up again."""

    def __init__(
        self,
        networks: lstm.Networks,
        resting: Resting | None,
        identity: str,
        clock: Callable[[], float],
    ) -> None:
        self._scored, self._resting, self._identity = networks.scored, resting, identity
        optimizer = networks.trained.optimizer
        optimizer.build(networks.trained.trainable_variables)
        self._variables = [*networks.trained.variables, *optimizer.variables]
        self._epochs: list[dict[str, float]] = []
        self._best: list[NDArray[Any]] = []
        self._clock, self._saved = clock, clock()

    def recall(self, weights: Path) -> list[dict[str, float]]:
        """Set everything as it was, and the best network on disk; return the epochs so far."""
        found = self._resting and checkpoint.load(self._resting.file, self._identity)
        if not found or not checkpoint.fits(found.state, self._variables):
            return []
        _assign(self._scored.weights, found.best)
        save_whole(self._scored, weights)
        _assign(self._variables, found.state)
        self._epochs, self._best = found.epochs, found.best
        return list(found.epochs)

    def note_best(self) -> None:
        """The weights are the best so far."""
        if self._resting:
            self._best = _values(self._scored.weights)

    def note_epoch(self, metrics: dict[str, float]) -> None:
        """An epoch is done; write a checkpoint if the last one is old enough."""
        if not self._resting:
            return
        self._epochs.append(metrics)
        if self._clock() - self._saved < self._resting.every_s:
            return
        now = Checkpoint(self._epochs, _values(self._variables), self._best)
        now.save(self._resting.file, self._identity)
        self._saved = self._clock()


def _values(variables: Iterable[Any]) -> list[NDArray[Any]]:
    return [np.array(variable.numpy()) for variable in variables]


def _assign(variables: Iterable[Any], values: Iterable[NDArray[Any]]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _train_epoch(program: Program, epoch: Windows, meter: _Meter, pace: _Pace) -> Iterator[float]:
    """Take every step of an epoch; yield the share done after each call."""
    done = 0
    while done < epoch.steps:
        steps = min(pace.steps, epoch.steps - done)
        with pace.timing(steps):
            losses, weights = program.train(epoch.cut(done, done + steps))
        done += steps
        for loss, weight in zip(losses.tolist(), weights.tolist(), strict=True):
            meter.add(loss, weight)
            if meter.verdict:
                break
        yield done / epoch.steps


class _Pace:
    """How many training steps are taken in a call, so that reports keep coming."""

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self.steps, self._most, self._clock = 1, most, clock

    @contextmanager
    def timing(self, steps: int) -> Iterator[None]:
        """Learn from a call with `steps` steps how many the next one may have."""
        began = self._clock()
        yield
        fitting = steps * CALL_S / max(self._clock() - began, 1e-9)
        self.steps = int(min(max(1, fitting), 4 * steps, self._most))


class _Meter:
    """Mean loss of an epoch, and whether it has diverged."""

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
        self.steps += 1
        self._sum += loss * weight
        self._weight += weight
        self._recent = [*self._recent[1 - DIVERGED_STEPS :], loss]
        recent = sum(self._recent) / len(self._recent)
        settled = len(self._recent) == DIVERGED_STEPS
        if not math.isfinite(loss) or (settled and recent > self._limit):
            self.verdict = f"step {self.steps}: {_beyond('training', recent, self._limit)}"


def _beyond(kind: str, loss: float, limit: float) -> str:
    if not math.isfinite(loss):
        return f"the {kind} loss is {loss}"
    guessing = limit / DIVERGED_AT
    return f"the {kind} loss of {loss:.4g} is over {DIVERGED_AT:g} times guessing ({guessing:.3g})"


def evaluate(
    logits: Logits, config: TrialConfig, corpus: Corpus, split: Split, targets: Indices
) -> dict[str, float]:
    """Score a network that predicts the next symbol on targets of a split."""
    return score(predictions(logits, config, len(corpus.alphabet), split, targets))


def predictions(
    logits: Logits, config: TrialConfig, alphabet: int, split: Split, targets: Indices
) -> Iterator[tuple[Floats, NDArray[np.int32]]]:
    """Log-probabilities `[rows, alphabet]` of what stands at targets of a split, and what does.

    `logits` maps windows `<int32>[rows, time]` to `[rows, alphabet]`; `rows` is the same in all
    calls, so that a backend traces one shape only.
    """
    widest = max(alphabet, 2 * config.layer_size)
    rows = min(SCORING_ROWS, max(16, SCORING_NUMBERS // (config.sequence_length * widest)))
    for windows, true in scoring_windows(split, targets, config.sequence_length, rows):
        yield log_softmax(_filled(logits, windows, rows)), true


def _filled(logits: Logits, windows: NDArray[np.int32], rows: int) -> NDArray[np.float32]:
    filled = np.pad(windows, ((0, rows - len(windows)), (0, 0)))
    return np.asarray(logits(filled))[: len(windows)]


def save_whole(model: Any, path: Path) -> None:
    """Write a model so that no reader ever sees half a file."""
    partial = path.with_name(f"partial-{path.name}")
    model.save(partial)
    partial.replace(path)
