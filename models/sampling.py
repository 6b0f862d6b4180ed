"""Sequences that a network continues: symbols drawn one after the other, with a temperature."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from models.alphabet import RESERVED, START

Codes = NDArray[np.int32]


def draw(logits: NDArray[np.floating], temperature: float, rng: np.random.Generator) -> Codes:
    """Draw the next symbol of each row, `<int32>[rows]`, from logits `[rows, alphabet]`.

    Its chances are the softmax of the logits divided by the temperature (Ackley, Hinton and
    Sejnowski, "A learning algorithm for Boltzmann machines", 1985): as the network has learned them
    at 1, surer below, more even above; at 0 the likeliest symbol is taken. A reserved code is never
    drawn.
    """
    scores = logits.astype(np.float64)
    scores[:, : len(RESERVED)] = -np.inf
    if temperature > 0:
        scores -= scores.max(axis=1, keepdims=True)
        with np.errstate(over="ignore"):  # far below the likeliest symbol
            scores /= temperature
        # the largest of sums with Gumbel noise falls on each symbol with its chance
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
    """Continue `past`, `<int32>[symbols]`, without end: in each turn one symbol for every row.

    A network sees the last `window` symbols. Rows differ by what was drawn, and the same seed draws
    the same.
    """
    rng = np.random.default_rng([seed, 0x5A])
    seen = np.full((rows, window), START, np.int32)
    if known := min(window, len(past)):
        seen[:, -known:] = past[-known:]
    while True:
        symbols = draw(logits(seen), temperature, rng)
        yield symbols
        seen = np.concatenate([seen[:, 1:], symbols[:, None]], axis=1)
