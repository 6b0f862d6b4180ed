"""Dropout in the arithmetic for a CPU: of outputs, of recurrent weights, and of symbols.

Each mask has a number of its own, by which its seed differs from those of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from lstm_sweep.models.config import LIMITS
from lstm_sweep.models.fast.lstm_parts import Cell, Symbols

#: number of equally likely values of a dropout draw
DRAWS = 1 << 16
#: most layers that a config may have. There is a mask for the outputs of each layer, one for the
#: recurrent weights of each of its directions, and one for the symbols
MOST_LAYERS = int(LIMITS["layers"].high)
OF_SYMBOLS = 3 * MOST_LAYERS + 1
#: by how much the seeds of two trials differ, at least; more than there are masks
SEED_STRIDE = 64


class Dropout(NamedTuple):
    """Dropout of one training step."""

    #: share of features that are set to 0, a scalar
    rate: Any
    #: the same of recurrent weights
    recurrent_rate: Any
    #: the same of the symbols of the alphabet
    input_rate: Any
    #: seed `<int64>[2]`; each mask adds another number from 1 to `OF_SYMBOLS` to the first of the
    #: two
    seed: Any


class Read(NamedTuple):
    """Symbols that a network reads, and what becomes of the matrix whose rows they select."""

    #: a symbol that is dropped has the code that follows the alphabet
    symbols: Symbols
    #: factor of all rows, which makes up for those that are dropped; None if none are
    scale: Any = None

    def rows_of(self, matrix: Any) -> Any:
        """The rows that are selected: those of `matrix`, and zeros for what is dropped."""
        if self.scale is None:
            return matrix
        return tf.pad(matrix * self.scale, [[0, 1], [0, 0]])

    def gradient(self, rows: Any) -> Any:
        """The gradient of the matrix from that of `rows_of`."""
        return rows if self.scale is None else rows[:-1] * self.scale


def read_symbols(symbols: Any, alphabet: Any, dropout: Dropout | None = None) -> Read:
    """What is read of symbols `<int32>[time, batch]`; `alphabet` is their number.

    Dropout takes a share of the alphabet out of each window, others out of each.
    """
    if dropout is None:
        return Read(Symbols(symbols, alphabet))
    batch = tf.shape(symbols)[1]
    kept, scale = _kept((batch, alphabet), dropout.input_rate, dropout.seed, OF_SYMBOLS)
    seen = tf.gather(tf.reshape(kept, (-1,)), symbols + alphabet * tf.range(batch))
    return Read(Symbols(tf.where(seen, symbols, alphabet), alphabet + 1), scale)


def recurrent_factors(cells: Sequence[Cell], dropout: Dropout, number: int) -> list[Any]:
    """Factors of the recurrent weights of the cells of layer `number`."""
    first = MOST_LAYERS + len(cells) * (number - 1) + 1
    return [
        _factors(tf.shape(cell.recurrent_kernel), dropout.recurrent_rate, dropout.seed, place)
        for place, cell in enumerate(cells, start=first)
    ]


def dropped(
    features: Any, dropout: Dropout, number: int, *, one_mask: bool = False
) -> tuple[Any, Callable[[Any], tuple[Any, list[Any]]]]:
    """Apply dropout as Keras does, for layer `number`; return the backward pass, too.

    With `one_mask`, all steps of `features`, `[time, batch, units]`, have the same mask.
    """
    shape = tf.shape(features)[1:] if one_mask else tf.shape(features)
    factors = _factors(shape, dropout.rate, dropout.seed, number)
    return features * factors, lambda gradient: (gradient * factors, [])


def _factors(shape: Any, rate: Any, seed: Any, number: int) -> Any:
    """Factors of dropout: 0, or what makes up for those that are 0; `number` is of the mask."""
    kept, scale = _kept(shape, rate, seed, number)
    return tf.cast(kept, tf.float32) * scale


def _kept(shape: Any, rate: Any, seed: Any, number: int) -> tuple[Any, Any]:
    """What is not dropped, `<bool>`, and the factor that makes up for the rest.

    The rate is rounded to a multiple of `1 / DRAWS`.
    """
    dropped_draws = tf.round(rate * DRAWS)
    draws = _uniform(shape, seed + tf.constant([number, 0], tf.int64))
    kept = draws >= tf.cast(tf.cast(dropped_draws, tf.int32), tf.uint16)
    return kept, DRAWS / (DRAWS - dropped_draws)


def _uniform(shape: Any, seed: Any) -> Any:
    """Draw uniform integers `<uint16>` below `DRAWS`; each 32-bit draw gives two of them."""
    count = tf.reduce_prod(tf.cast(shape, tf.int64))
    words = tf.raw_ops.StatelessRandomUniformFullInt(
        shape=[(count + 1) // 2], seed=seed, dtype=tf.uint32
    )
    return tf.reshape(tf.reshape(tf.bitcast(words, tf.uint16), (-1,))[:count], shape)
