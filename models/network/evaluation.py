"""Predictions of a network at places of a split: scores, surprises, and what may come next."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.cpu.program_types import (
    Float32s,
    Predictor,
    States,
    StreamPredictor,
    WindowPredictor,
    WindowReader,
    last_logits,
)
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
    predictor: Predictor,
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
    blocks = predictions(predictor, config, alphabet, split, targets, shared=shared)
    return score((found, true) for found, true, _ in blocks)


def predictions(
    predictor: Predictor,
    config: TrialConfig,
    alphabet: int,
    split: Split,
    targets: Indices,
    *,
    shared: int = 1,
) -> Iterator[Predicted]:
    """Predict the symbols at `targets`, positions of `split`, block by block.

    `predictor` is that of the config's program: of windows, or of streams if the state is carried.
    If `shared` is more than one, which asks for ascending targets and, of a unidirectional network,
    for a `WindowReader`, up to so many that follow each other are predicted in the last steps of
    one window (`windows.shared_windows`), so before some a network has seen fewer symbols than
    `sequence_length`. Windows that are equal are computed once, and so are equal beginnings if the
    predictor can go on from a state; the last bits may depend on what a block shares. Calls with
    whole windows have the same number of rows, so that a backend traces few shapes. `alphabet` is
    the size with reserved codes. Streams give the targets in another order.

    Raises:
        TypeError: windows are to be shared, and the predictor predicts only after whole ones.
    """
    if config.carried:
        streams = cast("StreamPredictor", predictor)
        yield from _in_streams(streams, config, alphabet, split, targets)
        return
    windows = cast("WindowPredictor", predictor)
    if config.direction == "bi":
        shared = 1
    if shared > 1 and not isinstance(windows, WindowReader):
        raise TypeError(f"found {windows!r}, expected a predictor of the steps of a window")
    yield from _in_windows(windows, config, alphabet, split, targets, shared)


def _in_windows(
    predict: WindowPredictor,
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
    stream = predict.stream if isinstance(predict, WindowReader) else None
    done = 0
    for begin in range(0, len(ends), block):
        windows = past(split, ends[begin : begin + block], np.arange(length, 0, -1))
        most_stages = MOST_STAGES if stream else 1
        stages, row_of = stages_of(windows, most=most_stages, last_steps=shared)
        if stream and len(stages) > 1:
            logits = _in_stages(stream, stages, widest, shared)
        else:
            logits = _whole(predict, stages[0].codes, rows, shared)
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


def _whole(predict: WindowPredictor, windows: NDArray[np.int32], rows: int, last: int) -> Float32s:
    """Logits in the last steps of whole windows, `<float32>[windows, last, alphabet]`."""
    parts = [
        _padded_call(predict, windows[begin : begin + rows], rows, last)
        for begin in range(0, len(windows), rows)
    ]
    return np.concatenate(parts)


def _in_stages(
    stream: StreamPredictor, stages: Sequence[Stage], widest: int, last: int
) -> Float32s:
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
                _, found = stream(codes[part], np.arange(0), before)
                after.append([np.asarray(one) for one in found])
            else:
                logits.append(last_logits(stream, codes[part], last, before))
        states = [np.concatenate(parts) for parts in zip(*after, strict=True)]
    return np.concatenate(logits)


def _padded_call(
    predict: WindowPredictor, windows: NDArray[np.int32], rows: int, last: int
) -> Float32s:
    padded = np.pad(windows, ((0, rows - len(windows)), (0, 0)))
    if last == 1:
        return np.asarray(predict(padded))[: len(windows), None]
    reader = cast("WindowReader", predict)
    return np.asarray(reader.last_logits(padded, last))[: len(windows)]


def _in_streams(
    stream: StreamPredictor, config: TrialConfig, alphabet: int, split: Split, targets: Indices
) -> Iterator[Predicted]:
    symbols = SCORING_NUMBERS // max(alphabet, 4 * config.layer_size)
    run_up = max(RUN_UP, config.sequence_length)
    states = None
    for block in scoring_blocks(split, targets, symbols=symbols, run_up=run_up):
        states = None if block.begins else states
        logits, states = stream(block.codes, block.places, states)
        if len(block.numbers):
            true = split.codes[targets[block.numbers]].astype(np.int32)
            yield Predicted(log_softmax(logits), true, block.numbers)


def judge(
    predictor: Predictor, config: TrialConfig, alphabet: int, split: Split
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
    for found, true, numbers in predictions(predictor, config, alphabet, split, everywhere):
        own = found[np.arange(len(true)), true]
        likelier = (found[:, PREDICTED:] > own[:, None]).sum(axis=1)
        surprise[numbers] = -own
        rank[numbers] = np.where(true < PREDICTED, alphabet - PREDICTED, likelier)
    return surprise, rank


def likeliest(
    predictor: Predictor,
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
    for found, _, numbers in predictions(predictor, config, alphabet, split, places):
        best = np.argsort(-found[:, PREDICTED:], axis=1, kind="stable")[:, :count] + PREDICTED
        codes[numbers] = best
        chances[numbers] = np.exp(np.take_along_axis(found, best, axis=1))
    return codes, chances


Codes = NDArray[np.int32]


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
    logits: Callable[[Codes], NDArray[np.float32]],
    past: Codes,
    *,
    window: int,
    rows: int,
    temperature: float,
    seed: int,
) -> Iterator[Codes]:
    """Continue `past`, `<int32>[symbols]`, in `rows` independent sequences, without end.

    Each time it yields the next symbol of all sequences, `<int32>[rows]`. The network is given the
    last `window` symbols. The draws are determined by `seed`.
    """
    rng = _random(seed)
    seen = np.full((rows, window), START, np.int32)
    if known := min(window, len(past)):
        seen[:, -known:] = past[-known:]
    while True:
        symbols = draw(logits(seen), temperature, rng)
        yield symbols
        seen = np.concatenate([seen[:, 1:], symbols[:, None]], axis=1)


def continued_stream(
    stream: StreamPredictor, past: Codes, *, rows: int, temperature: float, seed: int
) -> Iterator[Codes]:
    """As `continued`, with a network whose state is carried: it reads each symbol once."""
    rng = _random(seed)
    codes = np.tile(np.concatenate([[START], past]).astype(np.int32), (rows, 1))
    states: States | None = None
    while True:
        last = (codes.shape[1] - 1) * rows + np.arange(rows)
        logits, states = stream(codes, last, states)
        symbols = draw(logits, temperature, rng)
        yield symbols
        codes = symbols[:, None]


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


def _random(seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, 0x5A])
