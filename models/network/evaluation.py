"""Predictions of a network at places of a split: scores, surprises, and what may come next."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.cpu.program_types import Codes, Float32s, Program, States
from lstm_sweep.models.data.alphabet import END, PREDICTED, START
from lstm_sweep.models.data.corpus import Corpus, Split
from lstm_sweep.models.data.streams import RUN_UP, scoring_blocks
from lstm_sweep.models.data.windows import (
    Indices,
    Stage,
    past,
    shared_windows,
    stages_of,
    steps_with_target,
)
from lstm_sweep.models.normality import (
    MOST_TRAINING,
    SCORES,
    Calibration,
    Normality,
    drawn,
    held_out,
    sessions_of,
)
from lstm_sweep.models.scoring import Floats, log_softmax, score

#: rows of windows in a scoring call and of what is predicted at a time, and numbers in one of the
#: arrays of a call, at most
SCORING_ROWS, SCORING_NUMBERS = 256, 1 << 24
#: rows of a call that goes on from states, at most
STAGE_ROWS = 1_024
#: windows among which equal beginnings are looked for, and numbers in one of their arrays, at most
BLOCK_WINDOWS, BLOCK_NUMBERS = 1 << 14, 1 << 23
#: stages that they are read in, at most
MOST_STAGES = 4


class Predicted(NamedTuple):
    """Predictions of the symbols at some targets."""

    #: `<float64>[rows, alphabet]`
    log_probabilities: Floats
    #: codes of the true symbols, `<int32>[rows]`
    true: NDArray[np.int32]
    #: which of the targets they are, `<int64>[rows]`
    numbers: Indices


def evaluate(
    program: Program,
    config: TrialConfig,
    corpus: Corpus,
    split: Split,
    targets: Indices,
    *,
    share_windows: bool = False,
) -> dict[str, float]:
    """Score a network on `targets`, positions of `split`; see `scoring.score` for the metrics.

    With `share_windows` as many of them are predicted in one window as `windows.steps_with_target`
    says.
    """
    alphabet = len(corpus.alphabet)
    shared = 1
    if share_windows:
        shared = steps_with_target(config.sequence_length, text=corpus.alphabet.is_text)
    blocks = predictions(program, config, alphabet, split, targets, shared=shared)
    return score((found, true) for found, true, _ in blocks)


def predictions(
    program: Program,
    config: TrialConfig,
    alphabet: int,
    split: Split,
    targets: Indices,
    *,
    shared: int = 1,
) -> Iterator[Predicted]:
    """Predict the symbols at `targets`, positions of `split`, block by block.

    They are read in windows, or in streams if the state is carried. If `shared` is more than one,
    which asks for ascending targets, up to so many that follow each other are predicted in the last
    steps of one window of a unidirectional network (`windows.shared_windows`), so before some it
    has seen fewer symbols than `sequence_length`. Windows that are equal are computed once, and so
    are equal beginnings if the program can go on from a state; the last bits may depend on what a
    block shares. Calls with whole windows have the same number of rows, so that a backend traces
    few shapes. `alphabet` is the size with reserved codes. Streams give the targets in another
    order.
    """
    if config.carried:
        yield from _in_streams(program, config, alphabet, split, targets)
    else:
        shared = 1 if config.direction == "bi" else shared
        yield from _in_windows(program, config, alphabet, split, targets, shared)


def _in_windows(
    program: Program,
    config: TrialConfig,
    alphabet: int,
    split: Split,
    targets: Indices,
    shared: int,
) -> Iterator[Predicted]:
    """`shared` is the number of targets of a window, at most."""
    length, widest = config.sequence_length, max(alphabet, 2 * config.layer_size)
    rows = min(SCORING_ROWS, _most_rows(length, widest))
    ends, window_of, steps_before = shared_windows(split, targets, shared, length)
    shared = int(steps_before.max(initial=0)) + 1
    if shared > 1 and len(ends):  # calls of about as many rows, so that few are not needed
        rows = math.ceil(len(ends) / math.ceil(len(ends) / rows))
    of_window = max(shared * alphabet, length, 2 * config.layers * config.layer_size)
    # a multiple of the rows of a call, of which none but the last has rows that are not needed
    block = max(1, min(BLOCK_WINDOWS, BLOCK_NUMBERS // of_window) // rows) * rows
    done = 0
    for begin in range(0, len(ends), block):
        windows = past(split, ends[begin : begin + block], np.arange(length, 0, -1))
        most_stages = MOST_STAGES if program.streams else 1
        stages, row_of = stages_of(windows, most=most_stages, last_steps=shared)
        if len(stages) > 1:
            logits = _in_stages(program, stages, widest, shared)
        else:
            logits = _whole(program, stages[0].codes, rows, shared)
        end = int(np.searchsorted(window_of, begin + len(windows)))
        while done < end:
            numbers = np.arange(done, min(done + rows, end))
            places = row_of[window_of[numbers] - begin], shared - 1 - steps_before[numbers]
            true = split.codes[targets[numbers]].astype(np.int32)
            yield Predicted(log_softmax(logits[places]), true, numbers)
            done += len(numbers)


def _most_rows(steps: int, widest: int) -> int:
    """Rows of a call of so many steps, of `widest` numbers each in a row; not fewer than 16."""
    return max(16, SCORING_NUMBERS // (steps * widest))


def _whole(program: Program, windows: Codes, rows: int, last: int) -> Float32s:
    """Logits in the last steps of whole windows, `<float32>[windows, last, alphabet]`."""
    parts = []
    for begin in range(0, len(windows), rows):
        part = windows[begin : begin + rows]
        padded = np.pad(part, ((0, rows - len(part)), (0, 0)))
        logits = program.logits(padded)[:, None] if last == 1 else program.last_logits(padded, last)
        parts.append(logits[: len(part)])
    return np.concatenate(parts)


def _in_stages(program: Program, stages: Sequence[Stage], widest: int, last: int) -> Float32s:
    """Logits in the last steps of the last of some stages, `<float32>[rows, last, alphabet]`."""
    states: States | None = None
    logits = []
    for number, (codes, goes_on_from) in enumerate(stages, start=1):
        rows = min(STAGE_ROWS, _most_rows(codes.shape[1], widest))
        after = []
        for begin in range(0, len(codes), rows):
            part = slice(begin, begin + rows)
            before = None if states is None else [one[goes_on_from[part]] for one in states]
            if number < len(stages):
                _, found = program.stream(codes[part], np.arange(0), before)
                after.append([np.asarray(one) for one in found])
            else:
                logits.append(program.last_streamed(codes[part], last, before))
        states = [np.concatenate(parts) for parts in zip(*after, strict=True)]
    return np.concatenate(logits)


def _in_streams(
    program: Program, config: TrialConfig, alphabet: int, split: Split, targets: Indices
) -> Iterator[Predicted]:
    symbols = SCORING_NUMBERS // max(alphabet, 4 * config.layer_size)
    run_up = max(RUN_UP, config.sequence_length)
    states = None
    for block in scoring_blocks(split, targets, symbols=symbols, run_up=run_up):
        states = None if block.begins else states
        logits, states = program.stream(block.codes, block.places, states)
        if len(block.numbers):
            true = split.codes[targets[block.numbers]].astype(np.int32)
            yield Predicted(log_softmax(logits), true, block.numbers)


def judge(
    program: Program, config: TrialConfig, alphabet: int, split: Split
) -> tuple[Floats, Indices]:
    """Score each symbol of a split, given those before it in its session.

    `alphabet` is the size with reserved codes.

    Returns:
        Negative log-probabilities of the symbols in nats, `<float64>[symbols]`, and the number of
        symbols that are more likely, `<int64>[symbols]`. For an unknown symbol, that is the number
        of all symbols.
    """
    surprise, rank = np.empty(len(split)), np.empty(len(split), np.int64)
    everywhere = np.arange(len(split))
    for found, true, numbers in predictions(program, config, alphabet, split, everywhere):
        own = found[np.arange(len(true)), true]
        likelier = (found[:, PREDICTED:] > own[:, None]).sum(axis=1)
        surprise[numbers] = -own
        rank[numbers] = np.where(true < PREDICTED, alphabet - PREDICTED, likelier)
    return surprise, rank


def calibrate(program: Program, config: TrialConfig, corpus: Corpus) -> Calibration:
    """Scores of the normal sessions that a network was not trained on; each has an end."""
    alphabet, split = len(corpus.alphabet), held_out(corpus)
    known = sessions_of(drawn(corpus.train, MOST_TRAINING), ends=True)
    normal = Normality.of(known, alphabet)
    if split is None:
        return Calibration(normal, np.empty((0, len(SCORES))))
    surprise, _ = judge(program, config, alphabet, split)
    return Calibration(normal, normal.scores(split, surprise, ends=True))


def likeliest(
    program: Program,
    config: TrialConfig,
    alphabet: int,
    split: Split,
    places: Indices,
    count: int,
) -> tuple[NDArray[np.int64], Floats]:
    """The `count` most likely symbols at some positions of a split.

    Returns:
        Codes, the most likely first, and their probabilities, both `[places, count]`, or with fewer
        columns if the alphabet has fewer symbols.
    """
    shape = (len(places), min(count, alphabet - PREDICTED))
    codes, chances = np.empty(shape, np.int64), np.empty(shape)
    for found, _, numbers in predictions(program, config, alphabet, split, places):
        best = np.argsort(-found[:, PREDICTED:], axis=1, kind="stable")[:, :count] + PREDICTED
        codes[numbers] = best
        chances[numbers] = np.exp(np.take_along_axis(found, best, axis=1))
    return codes, chances


def draw(logits: NDArray[np.floating], temperature: float, rng: np.random.Generator) -> Codes:
    """Draw the next symbol of each row, `<int32>[rows]`, from logits `[rows, alphabet]`.

    Probabilities are the softmax of the logits divided by the temperature (Ackley, Hinton and
    Sejnowski, "A learning algorithm for Boltzmann machines", 1985). At 0 the most likely symbol is
    taken. `<start>` and `<unk>` are never drawn.
    """
    scores = logits.astype(np.float64)
    scores[:, :PREDICTED] = -np.inf
    if temperature > 0:
        scores -= scores.max(axis=1, keepdims=True)
        with np.errstate(over="ignore"):  # to -inf, for very unlikely symbols
            scores /= temperature
        # Gumbel-max trick: the argmax of scores plus Gumbel noise has the softmax distribution
        scores += rng.gumbel(size=scores.shape)
    drawn: Codes = scores.argmax(axis=1).astype(np.int32)
    return drawn


def continued(
    program: Program, config: TrialConfig, past: Codes, *, rows: int, temperature: float, seed: int
) -> Iterator[Codes]:
    """Continue `past`, `<int32>[symbols]`, in `rows` independent sequences, without end.

    Each time it yields the next symbol of all sequences, `<int32>[rows]`. The network is given the
    symbols that fit into its window, or each symbol once if its state is carried. The draws are
    determined by `seed`.
    """
    rng = np.random.default_rng([seed, 0x5A])
    states: States | None = None
    if config.carried:
        codes = np.tile(np.concatenate([[START], past]).astype(np.int32), (rows, 1))
    else:
        codes = np.full((rows, config.sequence_length), START, np.int32)
        if known := min(config.sequence_length, len(past)):
            codes[:, -known:] = past[-known:]
    while True:
        if config.carried:
            last = (codes.shape[1] - 1) * rows + np.arange(rows)
            logits, states = program.stream(codes, last, states)
        else:
            logits = program.logits(codes)
        symbols = draw(logits, temperature, rng)
        yield symbols
        read = np.empty((rows, 0), np.int32) if config.carried else codes[:, 1:]
        codes = np.concatenate([read, symbols[:, None]], axis=1)


def until_ended(turns: Iterator[Codes]) -> Iterator[Codes]:
    """Turns of sequences, each of which ends with its first `END`, until all of them have ended.

    One that has ended before others has `END` from then on.
    """
    ended: NDArray[np.bool_] | None = None
    for codes in turns:
        ended = codes == END if ended is None else ended | (codes == END)
        yield np.where(ended, END, codes)
        if ended.all():
            return
