"""Predictions of a network at chosen places of a split, and its scores there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.beginnings import Stage, stages_of
from lstm_sweep.models.data.corpus import Corpus, Split
from lstm_sweep.models.data.scoring_streams import ROWS, RUN_UP, STEPS, scoring_blocks
from lstm_sweep.models.data.windows import Indices, scoring_windows
from lstm_sweep.models.fast.program_types import (
    Float32s,
    Predictor,
    States,
    StreamPredictor,
    WindowPredictor,
    WindowReader,
)
from lstm_sweep.models.scoring import Floats, log_softmax, score

#: rows of windows in one scoring call, the same if it goes on from states, and numbers in one of
#: its arrays, at most
SCORING_ROWS, READING_ROWS, SCORING_NUMBERS = 256, 1_024, 1 << 24
#: windows whose equal beginnings are looked for at a time, numbers in one of their arrays, and
#: parts that windows are read in, at most
BLOCK_WINDOWS, BLOCK_NUMBERS, MOST_STAGES = 1 << 14, 1 << 23, 4


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
    Windows that are equal, or begin alike if the predictor can go on from a state, are computed
    once. Else every call has the same number of rows, so that a backend traces one shape only.
    `alphabet` is the size with reserved codes. Streams give the targets in another order.
    """
    if config.carried:
        streams = cast("StreamPredictor", predictor)
        yield from _in_streams(streams, config, alphabet, split, targets)
    else:
        windows = cast("WindowPredictor", predictor)
        yield from _in_windows(windows, config, alphabet, split, targets)


def _in_windows(
    predict: WindowPredictor, config: TrialConfig, alphabet: int, split: Split, targets: Indices
) -> Iterator[Predicted]:
    widest = max(alphabet, 2 * config.layer_size)
    most = max(16, SCORING_NUMBERS // (config.sequence_length * widest))
    widest = max(alphabet, 2 * config.layers * config.layer_size)
    block = max(SCORING_ROWS, min(BLOCK_WINDOWS, BLOCK_NUMBERS // widest))
    done = 0
    for windows, true in scoring_windows(split, targets, config.sequence_length, block):
        logits = _logits(predict, windows, most)
        for begin in range(0, len(true), SCORING_ROWS):
            chosen = slice(begin, begin + SCORING_ROWS)
            numbers = np.arange(done, done + len(true[chosen]))
            yield Predicted(log_softmax(logits[chosen]), true[chosen], numbers)
            done += len(numbers)


def _logits(predict: WindowPredictor, windows: NDArray[np.int32], most: int) -> Float32s:
    """Logits after `windows`, computed once for what they share, at most `most` rows in a call."""
    read = predict.read if isinstance(predict, WindowReader) else None
    stages, of_window = stages_of(windows, most=MOST_STAGES if read else 1)
    if read is None or len(stages) == 1:
        codes, rows = stages[0].codes, min(SCORING_ROWS, most)
        found = [
            _padded_call(predict, codes[begin : begin + rows], rows)
            for begin in range(0, len(codes), rows)
        ]
        return np.concatenate(found)[of_window]
    rows, states = min(READING_ROWS, most), None
    for stage in stages[:-1]:
        _, states = _read(read, stage, states, rows, predicts=False)
    logits, _ = _read(read, stages[-1], states, rows, predicts=True)
    return logits[of_window]


def _read(
    read: StreamPredictor, stage: Stage, before: States | None, rows: int, *, predicts: bool
) -> tuple[Float32s, States]:
    """Logits, if it `predicts`, and states after a stage, from the states `before` it."""
    found, after = [], list[list[Float32s]]()
    for begin in range(0, len(stage.codes), rows):
        codes = stage.codes[begin : begin + rows]
        chosen = stage.goes_on_from[begin : begin + rows]
        states = None if before is None else [state[chosen] for state in before]
        last = (codes.shape[1] - 1) * len(codes) + np.arange(len(codes) if predicts else 0)
        logits, after_these = read(codes, last, states)
        found.append(logits)
        after.append([np.asarray(state) for state in after_these])
    return np.concatenate(found), [np.concatenate(parts) for parts in zip(*after, strict=True)]


def _padded_call(
    predict: WindowPredictor, windows: NDArray[np.int32], rows: int
) -> NDArray[np.float32]:
    padded = np.pad(windows, ((0, rows - len(windows)), (0, 0)))
    return np.asarray(predict(padded))[: len(windows)]


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
