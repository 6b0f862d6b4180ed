"""Predictions of a network at chosen places of a split, and its scores there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.corpus import Corpus, Split
from lstm_sweep.models.data.scoring_streams import ROWS, RUN_UP, STEPS, scoring_blocks
from lstm_sweep.models.data.windows import Indices, scoring_windows
from lstm_sweep.models.fast.program_types import (
    Predictor,
    StreamPredictor,
    WindowPredictor,
)
from lstm_sweep.models.scoring import Floats, log_softmax, score

#: rows of windows in one scoring call, and numbers in one of its arrays, at most
SCORING_ROWS, SCORING_NUMBERS = 256, 1 << 24


class Predicted(NamedTuple):
    """Predictions of the symbols at some targets."""

    #: `<float64>[rows, alphabet]`
    log_probabilities: Floats
    #: codes of the true symbols, `<int32>[rows]`
    true: NDArray[np.int32]
    #: which of the targets they are, `<int64>[rows]`
    numbers: Indices


def evaluate(
    predictor: Predictor, config: TrialConfig, corpus: Corpus, split: Split, targets: Indices
) -> dict[str, float]:
    """Score a network on `targets`, positions of `split`; see `scoring.score` for the metrics."""
    blocks = predictions(predictor, config, len(corpus.alphabet), split, targets)
    return score((found, true) for found, true, _ in blocks)


def predictions(
    predictor: Predictor, config: TrialConfig, alphabet: int, split: Split, targets: Indices
) -> Iterator[Predicted]:
    """Predict the symbols at `targets`, positions of `split`, block by block.

    `predictor` is that of the config's program: of windows, or of streams if the state is carried.
    Every call has the same number of rows, so that a backend traces one shape only. `alphabet` is
    the size with reserved codes. Streams give the targets in another order.
    """
    if config.carried:
        streams = cast("StreamPredictor", predictor)
        yield from _in_streams(streams, config, alphabet, split, targets)
    else:
        windows = cast("WindowPredictor", predictor)
        yield from _in_windows(windows, config, alphabet, split, targets)


def _in_windows(
    logits: WindowPredictor, config: TrialConfig, alphabet: int, split: Split, targets: Indices
) -> Iterator[Predicted]:
    widest = max(alphabet, 2 * config.layer_size)
    rows = min(SCORING_ROWS, max(16, SCORING_NUMBERS // (config.sequence_length * widest)))
    done = 0
    for windows, true in scoring_windows(split, targets, config.sequence_length, rows):
        numbers = np.arange(done, done + len(true))
        yield Predicted(log_softmax(_padded_call(logits, windows, rows)), true, numbers)
        done += len(true)


def _padded_call(
    logits: WindowPredictor, windows: NDArray[np.int32], rows: int
) -> NDArray[np.float32]:
    padded = np.pad(windows, ((0, rows - len(windows)), (0, 0)))
    return np.asarray(logits(padded))[: len(windows)]


def _in_streams(
    stream: StreamPredictor, config: TrialConfig, alphabet: int, split: Split, targets: Indices
) -> Iterator[Predicted]:
    widest = max(alphabet, 4 * config.layer_size)
    steps = min(STEPS, max(1, SCORING_NUMBERS // (ROWS * widest)))
    run_up = max(RUN_UP, config.sequence_length)
    states = None
    for block in scoring_blocks(split, targets, steps=steps, run_up=run_up):
        states = None if block.begins else states
        logits, states = stream(block.codes, block.places, states)
        if len(block.numbers):
            true = split.codes[targets[block.numbers]].astype(np.int32)
            yield Predicted(log_softmax(logits), true, block.numbers)
