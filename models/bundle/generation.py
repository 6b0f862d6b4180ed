"""Generates sequences: draws one symbol after the other from a network, with a temperature."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.cpu.program_types import States, StreamPredictor
from lstm_sweep.models.data.alphabet import END, PREDICTED, START

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
