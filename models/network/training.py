"""Trains one trial: rounds of training and scoring, checkpoints, and the best weights on disk.

Keras's `fit` is not used: on TensorFlow each of its epochs ends by waiting for a sleeping `tf.data`
thread, which takes up to half of the time and makes every measurement wrong.
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

from lstm_sweep.models import backend
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.corpus import Corpus, Split
from lstm_sweep.models.data.windows import EpochWindows, Indices, TrainingWindows, scoring_windows
from lstm_sweep.models.fast.program_types import Networks, Program
from lstm_sweep.models.network import checkpoint, lstm
from lstm_sweep.models.network.checkpoint import Checkpoint
from lstm_sweep.models.network.events import Diverged, Progress, Round, TrainingEvent
from lstm_sweep.models.network.program import program_of
from lstm_sweep.models.rounds import RoundPart, epoch_of, epoch_text, epochs_after, part_of_epoch
from lstm_sweep.models.scoring import Floats, log_softmax, score

#: a trial has diverged if its loss is above this multiple of ln(alphabet), the loss of guessing
DIVERGED_AT = 2.0
#: training steps over which the loss is averaged for that comparison
DIVERGED_STEPS = 10
#: rows of windows in one scoring call, and numbers in one of its arrays, at most
SCORING_ROWS, SCORING_NUMBERS = 256, 1 << 24
#: seconds that one training call should take, and symbols in it at most
CALL_S, CALL_SYMBOLS = 0.25, 1 << 22

Logits = Callable[[NDArray[np.int32]], NDArray[np.float32]]


@dataclass(frozen=True)
class CheckpointSettings:
    """Where the state of a training is written, and how often."""

    file: Path
    #: seconds between two checkpoints, at least; they are written at the end of a round
    every_s: float = 5.0


def train(
    config: TrialConfig,
    corpus: Corpus,
    targets: Indices,
    seed: int,
    weights: Path,
    checkpoints: CheckpointSettings | None = None,
    graphs: Path | None = None,
    clock: Callable[[], float] = time.perf_counter,
    rounds_per_epoch: int = 1,
) -> Iterator[TrainingEvent]:
    """Train the network of `config` and report progress as events.

    Each epoch is divided into `rounds_per_epoch` rounds (`models/rounds.py`), which changes nothing
    of its training. After each round the network is scored on `targets`, positions of the
    validation split. If it is the best so far, the model that predicts the next symbol is written
    to `weights`, atomically.

    With `checkpoints`, a training that was interrupted continues after the last round in the
    checkpoint: earlier rounds are reported again, and on a CPU the later ones have the same bits as
    without the interruption.

    `graphs` is the folder of the graph cache (`models/fast/graph_cache.py`), shared by all trials.
    """
    training = _Training(
        config, corpus, targets, seed, weights, checkpoints, graphs, clock, rounds_per_epoch
    )
    done = training.restore()
    for number, metrics in enumerate(done, start=1):
        yield Round(number, metrics, repeated=number < len(done))
    for number in range(len(done) + 1, config.epochs * rounds_per_epoch + 1):
        for event in training.round(number):
            yield event
            if isinstance(event, Diverged):
                return


class _Training:
    """One training: its networks, windows, best loss and checkpoints."""

    def __init__(
        self,
        config: TrialConfig,
        corpus: Corpus,
        targets: Indices,
        seed: int,
        weights: Path,
        checkpoints: CheckpointSettings | None,
        graphs: Path | None,
        clock: Callable[[], float],
        rounds_per_epoch: int,
    ) -> None:
        backend.run_operations_alone()
        mixed = not backend.own_arithmetic()
        self._networks = lstm.build(config, len(corpus.alphabet), mixed=mixed)
        lstm.compile_for_training(self._networks.trained, config)
        self._config, self._corpus, self._targets = config, corpus, targets
        self._weights, self._clock = weights, clock
        identity = f"{config.to_dict()} {seed} {corpus.digest}"
        if rounds_per_epoch > 1:
            identity += f" {rounds_per_epoch} rounds"
        self._checkpointer = _Checkpointer(self._networks, checkpoints, identity, clock)
        self._program = program_of(self._networks, config, seed, graphs)
        self._windows = TrainingWindows(corpus.train, config, seed)
        self._epoch: tuple[int, EpochWindows] | None = None
        self._rounds_per_epoch = rounds_per_epoch
        most = max(1, CALL_SYMBOLS // (config.batch_size * config.sequence_length))
        self._call_size = _CallSize(most, clock)
        self._limit = DIVERGED_AT * math.log(len(corpus.alphabet))
        self._best = math.inf

    def restore(self) -> list[dict[str, float]]:
        """Restore the checkpoint, if there is one; return the metrics of its rounds."""
        done = self._checkpointer.restore(self._weights)
        self._best = min((metrics["val_loss"] for metrics in done), default=math.inf)
        return done

    def round(self, number: int) -> Iterator[TrainingEvent]:
        """Train and score one round; the last event is `Round` or `Diverged`."""
        began = self._clock()
        windows = self._windows_of(epoch_of(number, self._rounds_per_epoch))
        part = part_of_epoch(number, self._rounds_per_epoch, windows.steps)
        where = f"epoch {epoch_text(number, self._rounds_per_epoch)}"
        meter = _LossMeter(self._limit)
        for share in _train_part(self._program, windows, part, meter, self._call_size):
            if meter.verdict:
                yield Diverged(f"{where}: {meter.verdict}")
                return
            yield Progress(number, share, meter.mean)
        trained = self._clock()
        # a few steps may be high by chance; those of a whole epoch are not
        enough = meter.steps >= DIVERGED_STEPS or self._rounds_per_epoch == 1
        if enough and not meter.mean <= self._limit:
            reason = _excess("training", meter.mean, self._limit)
            yield Diverged(f"{where}: {reason}")
            return
        self._program.sync()
        result = evaluate(
            self._program.logits, self._config, self._corpus, self._corpus.validation, self._targets
        )
        if not math.isfinite(result["loss"]):
            reason = _excess("validation", result["loss"], self._limit)
            yield Diverged(f"{where}: {reason}")
            return
        if result["loss"] < self._best:
            self._best = result["loss"]
            save_whole(self._networks.scored, self._weights)
            self._checkpointer.note_best()
        symbols = meter.steps * self._config.batch_size * self._config.sequence_length
        before = len(self._corpus.train) * (part.epoch - 1)
        metrics = {
            # a config with fewer steps than rounds has rounds without a step
            **({"train_loss": meter.mean} if meter.steps else {}),
            **{f"val_{name}": value for name, value in result.items()},
            "symbols_per_second": symbols / max(trained - began, 1e-9),
            "round_seconds": self._clock() - began,
            "epoch": epochs_after(number, self._rounds_per_epoch),
            "symbols_seen": float(before + len(self._corpus.train) * part.end // windows.steps),
        }
        self._checkpointer.note_round(metrics)
        yield Round(number, metrics)

    def _windows_of(self, epoch: int) -> EpochWindows:
        """The windows of an epoch, which are kept from one of its rounds to the next."""
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = epoch, self._windows.epoch(epoch)
        return self._epoch[1]


class _Checkpointer:
    """Writes checkpoints of a training and restores the last one; without settings it does nothing.

    It holds the metrics of all rounds and a copy of the best weights.
    """

    def __init__(
        self,
        networks: Networks,
        settings: CheckpointSettings | None,
        identity: str,
        clock: Callable[[], float],
    ) -> None:
        self._scored, self._settings, self._identity = networks.scored, settings, identity
        optimizer = networks.trained.optimizer
        optimizer.build(networks.trained.trainable_variables)
        self._variables = [*networks.trained.variables, *optimizer.variables]
        self._rounds: list[dict[str, float]] = []
        self._best: list[NDArray[Any]] = []
        self._clock, self._saved = clock, clock()

    def restore(self, weights: Path) -> list[dict[str, float]]:
        """Set all variables, write the best model to `weights`; return the rounds' metrics."""
        found = self._settings and checkpoint.load(self._settings.file, self._identity)
        if not found or not checkpoint.fits(found.state, self._variables):
            return []
        _assign(self._scored.weights, found.best)
        save_whole(self._scored, weights)
        _assign(self._variables, found.state)
        self._rounds, self._best = found.rounds, found.best
        return list(found.rounds)

    def note_best(self) -> None:
        """Copy the current weights as the best so far."""
        if self._settings:
            self._best = _values(self._scored.weights)

    def note_round(self, metrics: dict[str, float]) -> None:
        """Add a round; write a checkpoint if the last one is at least `every_s` old."""
        if not self._settings:
            return
        self._rounds.append(metrics)
        if self._clock() - self._saved < self._settings.every_s:
            return
        now = Checkpoint(self._rounds, _values(self._variables), self._best)
        now.save(self._settings.file, self._identity)
        self._saved = self._clock()


def _values(variables: Iterable[Any]) -> list[NDArray[Any]]:
    return [np.array(variable.numpy()) for variable in variables]


def _assign(variables: Iterable[Any], values: Iterable[NDArray[Any]]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _train_part(
    program: Program,
    windows: EpochWindows,
    part: RoundPart,
    meter: _LossMeter,
    call_size: _CallSize,
) -> Iterator[float]:
    """Take all steps of a part of an epoch; yield the share of it that is done after each call."""
    done = part.begin
    while done < part.end:
        steps = min(call_size.steps, part.end - done)
        with call_size.timing(steps):
            losses, weights = program.train(windows.select(done, done + steps))
        done += steps
        for loss, weight in zip(losses.tolist(), weights.tolist(), strict=True):
            meter.add(loss, weight)
            if meter.verdict:
                break
        yield (done - part.begin) / (part.end - part.begin)


class _CallSize:
    """Chooses the number of training steps in a call, so that a call takes about `CALL_S`."""

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self.steps, self._most, self._clock = 1, most, clock

    @contextmanager
    def timing(self, steps: int) -> Iterator[None]:
        """Measure a call with `steps` steps, `self.steps` or fewer; set `self.steps` anew."""
        began = self._clock()
        yield
        fitting = steps * CALL_S / max(self._clock() - began, 1e-9)
        self.steps = int(min(max(1, fitting), 4 * self.steps, self._most))


class _LossMeter:
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
            self.verdict = f"step {self.steps}: {_excess('training', recent, self._limit)}"


def _excess(kind: str, loss: float, limit: float) -> str:
    """Describe a loss that is not finite or above the limit."""
    if not math.isfinite(loss):
        return f"the {kind} loss is {loss}"
    guessing = limit / DIVERGED_AT
    return f"the {kind} loss of {loss:.4g} is over {DIVERGED_AT:g} times guessing ({guessing:.3g})"


def evaluate(
    logits: Logits, config: TrialConfig, corpus: Corpus, split: Split, targets: Indices
) -> dict[str, float]:
    """Score a network on `targets`, positions of `split`; see `scoring.score` for the metrics."""
    return score(predictions(logits, config, len(corpus.alphabet), split, targets))


def predictions(
    logits: Logits, config: TrialConfig, alphabet: int, split: Split, targets: Indices
) -> Iterator[tuple[Floats, NDArray[np.int32]]]:
    """Predict the symbols at `targets`, positions of `split`, block by block.

    `logits` maps windows `<int32>[rows, time]` to `[rows, alphabet]`. Every call has the same
    number of rows, so that a backend traces one shape only. `alphabet` is the size with reserved
    codes.

    Yields:
        Log-probabilities `<float64>[rows, alphabet]` and true codes `<int32>[rows]`.
    """
    widest = max(alphabet, 2 * config.layer_size)
    rows = min(SCORING_ROWS, max(16, SCORING_NUMBERS // (config.sequence_length * widest)))
    for windows, true in scoring_windows(split, targets, config.sequence_length, rows):
        yield log_softmax(_padded_call(logits, windows, rows)), true


def _padded_call(logits: Logits, windows: NDArray[np.int32], rows: int) -> NDArray[np.float32]:
    padded = np.pad(windows, ((0, rows - len(windows)), (0, 0)))
    return np.asarray(logits(padded))[: len(windows)]


def save_whole(model: Any, path: Path) -> None:
    """Write a model atomically: to a file beside `path`, which then replaces it."""
    partial = path.with_name(f"partial-{path.name}")
    model.save(partial)
    partial.replace(path)
