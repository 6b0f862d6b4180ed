"""Dropout in the arithmetic for a CPU, of the outputs of layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

#: number of equally likely values of a dropout draw
DRAWS = 1 << 16
#: by how much the seeds of two trials differ, at least; more than a config may have layers
SEED_STRIDE = 64


class Dropout(NamedTuple):
    """Dropout of one training step."""

    #: share of features that are set to 0, a scalar
    rate: Any
    #: seed `<int64>[2]`; each layer adds its number, from 1, to the first of the two
    seed: Any


def dropped(
    features: Any, dropout: Dropout, number: int
) -> tuple[Any, Callable[[Any], tuple[Any, list[Any]]]]:
    """Apply dropout as Keras does, for layer `number`; return the backward pass, too.

    The rate is rounded to a multiple of `1 / DRAWS`.
    """
    dropped_draws = tf.round(dropout.rate * DRAWS)
    draws = _uniform(tf.shape(features), dropout.seed + tf.constant([number, 0], tf.int64))
    kept = draws >= tf.cast(tf.cast(dropped_draws, tf.int32), tf.uint16)
    factors = tf.cast(kept, tf.float32) * (DRAWS / (DRAWS - dropped_draws))
    return features * factors, lambda gradient: (gradient * factors, [])


def _uniform(shape: Any, seed: Any) -> Any:
    """Draw uniform integers `<uint16>` below `DRAWS`; each 32-bit draw gives two of them."""
    count = tf.reduce_prod(tf.cast(shape, tf.int64))
    words = tf.raw_ops.StatelessRandomUniformFullInt(
        shape=[(count + 1) // 2], seed=seed, dtype=tf.uint32
    )
    return tf.reshape(tf.reshape(tf.bitcast(words, tf.uint16), (-1,))[:count], shape)
