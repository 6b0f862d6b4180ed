"""What a config costs: seconds of a round, predicted before it is trained.

The operations of a round are counted in closed form; what they cost on this machine is learned
from the rounds that have been seen there.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lstm_sweep.models.config import Config, TrialConfig, as_lstm_config
from lstm_sweep.models.data.streams import PARTS, RUN_UP
from lstm_sweep.models.data.windows import steps_with_target
from lstm_sweep.models.size import SAMPLED, SAMPLED_FROM
from lstm_sweep.search.policy.problem import Array, Costs, grown, usual

#: seconds per matrix operation, per step of a layer through time, and per element of its gates:
#: what one core of a common machine needs; replaced by what is seen
PRIOR = (1 / 40e9, 100e-6, 2e-9)
#: how many rounds the prior counts for
PRIOR_WEIGHT = 0.1
#: seconds of starting a worker, building and tracing its network, before any was seen
PRIOR_FIXED = 3.0
#: windows that are scored at once
SCORING_ROWS = 256
#: share of the validation split that is read more than once where streams are scored
TWICE = 0.2


@dataclass(frozen=True)
class DataSize:
    """How much there is to train and to score."""

    #: training symbols
    symbols: int
    #: codes of the alphabet, reserved ones too
    alphabet: int
    #: validation targets, which are scored after each round
    targets: int
    rounds_per_epoch: int = 1
    #: symbols of the validation split; None: an eighth of the training symbols, as is usual
    validation: int | None = None
    #: targets side by side, as in `Scoring`
    adjacent: int = 1
    #: of labelled sequences, each a window and a target: their number of symbols at equally spaced
    #: quantiles, and how many classes there are
    lengths: tuple[int, ...] = ()
    classes: int | None = None


def windows_per_epoch(config: TrialConfig, data_size: DataSize) -> int:
    """Training windows of an epoch, short sessions aside."""
    if data_size.lengths:
        return round(data_size.symbols / statistics.fmean(data_size.lengths))
    return math.ceil(data_size.symbols / config.window_stride)


def window_length(config: TrialConfig, data_size: DataSize) -> float:
    """Symbols of a training window, on average."""
    length = config.sequence_length
    if not data_size.lengths:
        return length
    return statistics.fmean(min(length, one) for one in data_size.lengths)


def steps_per_epoch(config: TrialConfig, data_size: DataSize) -> int:
    return math.ceil(windows_per_epoch(config, data_size) / config.batch_size)


def steps_per_round(config: TrialConfig, data_size: DataSize) -> float:
    """Steps of the optimizer in a round, on average."""
    return steps_per_epoch(config, data_size) / data_size.rounds_per_epoch


def scored_windows(config: TrialConfig, data_size: DataSize) -> tuple[float, float]:
    """What scoring reads, in windows of `sequence_length` symbols, and the batches of these.

    What windows that begin alike share is counted for each, so logs of short sessions are scored in
    less time. Streams are read once up to their last targets, at one step a symbol, and a few
    targets in a large split with a run-up for each group; in short sessions, which begin without
    one and are read more side by side, that is less, too.
    """
    if data_size.lengths:
        return data_size.targets, math.ceil(data_size.targets / SCORING_ROWS)
    adjacent = max(1, min(data_size.adjacent, data_size.targets))
    groups = math.ceil(data_size.targets / adjacent)
    if not config.carried:
        windows: float = data_size.targets
        if adjacent > 1 and config.direction == "uni":
            of_group = math.ceil(adjacent / steps_with_target(config.sequence_length))
            windows = min(windows, groups * of_group)
        return windows, math.ceil(windows / SCORING_ROWS)
    validation = data_size.validation
    if validation is None:
        validation = data_size.symbols // 8
    symbols, rows = (1 + TWICE) * validation, PARTS
    if (of_groups := groups * (RUN_UP + adjacent - 1)) < symbols:
        symbols, rows = of_groups, max(1, min(PARTS, groups))
    windows = symbols / config.sequence_length
    return windows, windows / rows


@lru_cache(maxsize=1 << 14)
def operations(config: TrialConfig, data_size: DataSize) -> Array:
    """Work of one round, training and scoring: (matrix operations, steps through time, elements).

    Not to be written to.

    A product of an m x k with a k x n matrix counts 2mkn; the backward pass counts twice the
    forward pass. Steps are those of each layer and direction for each batch, whatever its size.
    """
    directions = 2 if config.direction == "bi" else 1
    time, width = window_length(config, data_size), config.embedding_size or data_size.alphabet
    outputs = data_size.alphabet if data_size.classes is None else data_size.classes
    layers = 0.0
    for _ in range(config.layers):
        layers += directions * 8 * config.layer_size * (width + config.layer_size)
        width = directions * config.layer_size
    is_sampled = data_size.classes is None and config.direction == "uni" and outputs >= SAMPLED_FROM
    head, trained_head = 2 * width * outputs, 2 * width * (SAMPLED if is_sampled else outputs)
    windows = windows_per_epoch(config, data_size) / data_size.rounds_per_epoch
    heads = windows * (time if config.direction == "uni" and not data_size.lengths else 1)
    scored, scored_batches = scored_windows(config, data_size)
    passes = 3 * windows + scored
    cells = directions * config.layers
    batches = 3 * steps_per_round(config, data_size) + scored_batches
    return np.array(
        [
            passes * time * layers + 3 * heads * trained_head + data_size.targets * head,
            batches * time * cells,
            passes * time * cells * config.layer_size,
        ]
    )


def prior_seconds(config: TrialConfig, data_size: DataSize) -> float:
    return float(operations(config, data_size) @ np.array(PRIOR))


class CostModel(Costs):
    """Predicts seconds of a round from those seen: non-negative least squares, relative errors."""

    def __init__(self, data_size: DataSize, *, single_rounds: bool = False) -> None:
        """With `single_rounds` no trial has a second round."""
        super().__init__()
        self._data_size, self._single_rounds = data_size, single_rounds
        #: `<float64>[2 + operations, trials]`: seconds that each took beside its rounds, those of a
        #: round, and what that computes
        self._seen = np.full((2 + len(PRIOR), 64), np.nan)
        self.fixed_seconds = PRIOR_FIXED
        self._rates: Array | None = None

    def observe(
        self, number: int, config: Config, rounds: Sequence[float], total: float | None = None
    ) -> None:
        """Learn from the seconds of the rounds but the first, which includes tracing."""
        later = rounds[1:]
        if self._single_rounds:
            later = [max(seconds - PRIOR_FIXED, seconds / 2) for seconds in rounds]
        if not later:
            return
        typical = float(statistics.median(later))
        self._seen = grown(self._seen, number + 1)
        self._seen[1:, number] = typical, *operations(as_lstm_config(config), self._data_size)
        if total is not None:
            self._seen[0, number] = max(0.0, total - sum(rounds[1:]) - typical)
            self.fixed_seconds = usual(self._seen[0], PRIOR_FIXED)
        self._rates = None

    def round_seconds(self, config: Config) -> float:
        if self._rates is None:
            self._rates = self._fit()
        return float(operations(as_lstm_config(config), self._data_size) @ self._rates)

    def trial_seconds(self, config: Config, rounds: int) -> float:
        return self.fixed_seconds + rounds * self.round_seconds(config)

    def _fit(self) -> Array:
        from scipy.optimize import nnls

        prior = np.array(PRIOR)
        seconds, *operations_ = self._seen[1:, ~np.isnan(self._seen[1])]
        if not len(seconds):
            return prior
        work = np.array(operations_).T
        # the machine's pace against the prior's first, so that the prior fits its speed
        pace = float(np.exp(np.median(np.log(seconds / (work @ prior)))))
        scaled = work * prior * pace  # seconds that each kind of work would take by the prior
        rows = np.vstack([scaled / seconds[:, None], PRIOR_WEIGHT * np.eye(len(prior))])
        goals = np.concatenate([np.ones(len(seconds)), PRIOR_WEIGHT * np.ones(len(prior))])
        shares, _ = nnls(rows, goals)
        return np.asarray(shares * prior * pace)
