"""From symbols to logits on TensorFlow, with the weights of a network of Keras."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from models import fast_lstm
from models.config import TrialConfig
from models.lstm import Networks

#: units without weights that are added to a layer of so many units or more if their number is such
#: a multiple: rows a power of two apart share a few lines of the cache, and the matrix products of
#: TensorFlow, which read them where they lie, then take up to twice as long
IDLE_UNITS, CROWDED_FROM, CROWDED_MULTIPLE = 4, 128, 64


class PlainStack:
    """The layers of Keras as they are; on a GPU they use cuDNN."""

    def __init__(self, networks: Networks, config: TrialConfig) -> None:
        self._networks, self._every_step = networks, config.direction == "uni"

    def trained(self, symbols: Any, iteration: Any) -> Any:
        """Logits for training, `[time, batch, alphabet]` for uni and `[batch, alphabet]` for bi.

        `symbols` is `<int32>[time, batch]`; dropout is drawn from the seed and the iteration.
        """
        logits = self._networks.trained(tf.transpose(symbols), training=True)
        return tf.transpose(logits, (1, 0, 2)) if self._every_step else logits

    def losses(self, logits: Any, targets: Any) -> Any:
        """Cross-entropy in nats of `<int32>[...]` targets by logits `[..., alphabet]`."""
        return tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)

    def scored(self, windows: Any) -> Any:
        """Logits of the symbols after windows `<int32>[batch, time]`, `[batch, alphabet]`."""
        return self._networks.scored(windows, training=False)


class FastStack:
    """The same arithmetic as that of the layers, faster on a CPU (`models/fast_lstm.py`)."""

    def __init__(self, networks: Networks, config: TrialConfig, seed: int) -> None:
        self._model, self._config, self._seed = networks.trained, config, seed
        self._alphabet_size = networks.scored.output_shape[-1]
        units = config.layer_size
        self._idle = IDLE_UNITS * (units >= CROWDED_FROM and units % CROWDED_MULTIPLE == 0)

    def trained(self, symbols: Any, iteration: Any) -> Any:
        """As `PlainStack.trained`."""
        features = self._features(symbols, iteration)
        return self._dense(features if self._config.direction == "uni" else features[-1])

    def losses(self, logits: Any, targets: Any) -> Any:
        """As `PlainStack.losses`."""
        return _losses(logits, targets)

    def scored(self, windows: Any) -> Any:
        """As `PlainStack.scored`."""
        return self._dense(self._features(tf.transpose(windows), None)[-1])

    def _features(self, symbols: Any, iteration: Any) -> Any:
        """What the last LSTM layer gives, `[time, batch, features]`; of bi only the last step.

        Idle units have features, too. Without an iteration nothing is kept for gradients, and uni
        gives its last step alone as well.
        """
        features = symbols
        if self._config.embedding_size:
            features = tf.gather(self._model.get_layer("embedding").embeddings.value, symbols)
        for number in range(1, self._config.layers + 1):
            features = self._layer(features, number, training=iteration is not None)
            if iteration is not None and self._config.dropout:
                seed = tf.stack([64 * self._seed + number, tf.cast(iteration, tf.int64)])
                features = tf.nn.experimental.stateless_dropout(
                    features, self._config.dropout, seed
                )
        return features

    def _layer(self, features: Any, number: int, training: bool) -> Any:
        if self._config.direction == "uni":
            cell = self._model.get_layer(f"lstm_{number}").cell
            return self._one_way(features, number, cell, training)
        layer = self._model.get_layer(f"bidirectional_{number}")
        forward = self._one_way(features, number, layer.forward_layer.cell, training)
        turned = tf.reverse(features, [0])
        backward = self._one_way(turned, number, layer.backward_layer.cell, training)
        if number == self._config.layers:  # each half has read the whole window
            return _joined(forward[-1:], backward[-1:])
        return _joined(forward, tf.reverse(backward, [0]))

    def _dense(self, features: Any) -> Any:
        layer = self._model.get_layer("logits")
        flat = tf.reshape(features, (-1, features.shape[-1]))
        kernel = self._widened(layer.kernel.value, columns=False)
        logits = tf.matmul(flat, kernel) + layer.bias.value
        return tf.reshape(logits, (*features.shape[:-1], self._alphabet_size))

    def _one_way(self, features: Any, number: int, cell: Any, training: bool) -> Any:
        weights = (
            self._widened(cell.kernel.value, rows=number > 1),
            self._widened(cell.recurrent_kernel.value),
            self._widened(cell.bias.value[None], rows=False)[0],
        )
        if not training:
            every_step = number < self._config.layers
            return fast_lstm.outputs(features, *weights, every_step=every_step)
        reduced = self._config.precision != "float32"
        if features.dtype == tf.int32:
            return fast_lstm.lstm_of_symbols(features, *weights, reduced=reduced)
        return fast_lstm.lstm(features, *weights, reduced=reduced)

    def _widened(self, matrix: Any, *, rows: bool = True, columns: bool = True) -> Any:
        """Weights with zeros for the idle units, where rows or columns belong to units.

        A unit whose weights are all 0 has an output of 0, and no other takes notice of it.
        """
        if not self._idle:
            return matrix
        units = self._config.layer_size
        height, width = (units if rows else 1), (units if columns else 1)
        blocks = (matrix.shape[0] // height, height, matrix.shape[1] // width, width)
        idle = ((0, 0), (0, rows * self._idle), (0, 0), (0, columns * self._idle))
        widened = tf.pad(tf.reshape(matrix, blocks), idle)
        return tf.reshape(widened, (blocks[0] * widened.shape[1], blocks[2] * widened.shape[3]))


def _losses(logits: Any, targets: Any) -> Any:
    """As TensorFlow's function, which asked for determinism gathers what it needs one by one."""

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def of(logits: Any) -> Any:
        rows, symbols = tf.reshape(logits, (-1, logits.shape[-1])), tf.reshape(targets, (-1,))
        found = tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(features=rows, labels=symbols)

        def gradients(gradient: Any) -> Any:
            return tf.reshape(found.backprop * tf.reshape(gradient, (-1, 1)), logits.shape)

        return tf.reshape(found.loss, targets.shape), gradients

    return of(logits)


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _joined(left: Any, right: Any) -> Any:
    """As `tf.concat` on the last axis, whose own gradient is ten times slower."""
    sizes = [left.shape[-1], right.shape[-1]]
    return tf.concat([left, right], -1), lambda gradient: tf.split(gradient, sizes, -1)
