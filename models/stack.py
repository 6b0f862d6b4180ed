"""From symbols to logits on TensorFlow, with the weights of a network of Keras."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from models import fast_lstm
from models.config import TrialConfig
from models.lstm import Networks


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

    def scored(self, windows: Any) -> Any:
        """Logits of the symbols after windows `<int32>[batch, time]`, `[batch, alphabet]`."""
        return self._networks.scored(windows, training=False)


class FastStack:
    """The same arithmetic as that of the layers, faster on a CPU (`models/fast_lstm.py`)."""

    def __init__(self, networks: Networks, config: TrialConfig, seed: int) -> None:
        self._model, self._config, self._seed = networks.trained, config, seed
        self._alphabet_size = networks.scored.output_shape[-1]

    def trained(self, symbols: Any, iteration: Any) -> Any:
        """As `PlainStack.trained`."""
        features = self._features(symbols, iteration)
        return self._dense(features if self._config.direction == "uni" else features[-1])

    def scored(self, windows: Any) -> Any:
        """As `PlainStack.scored`."""
        return self._dense(self._features(tf.transpose(windows), None)[-1])

    def _features(self, symbols: Any, iteration: Any) -> Any:
        """What the last LSTM layer gives, `[time, batch, features]`; of bi only the last step."""
        features, reduced = symbols, iteration is not None and self._config.precision != "float32"
        if self._config.embedding_size:
            features = tf.gather(self._model.get_layer("embedding").embeddings.value, symbols)
        for number in range(1, self._config.layers + 1):
            features = self._layer(features, number, reduced)
            if iteration is not None and self._config.dropout:
                seed = tf.stack([64 * self._seed + number, tf.cast(iteration, tf.int64)])
                features = tf.nn.experimental.stateless_dropout(
                    features, self._config.dropout, seed
                )
        return features

    def _layer(self, features: Any, number: int, reduced: bool) -> Any:
        if self._config.direction == "uni":
            return _lstm(features, self._model.get_layer(f"lstm_{number}").cell, reduced)
        layer = self._model.get_layer(f"bidirectional_{number}")
        forward = _lstm(features, layer.forward_layer.cell, reduced)
        backward = _lstm(tf.reverse(features, [0]), layer.backward_layer.cell, reduced)
        if number == self._config.layers:  # each half has read the whole window
            return _joined(forward[-1:], backward[-1:])
        return _joined(forward, tf.reverse(backward, [0]))

    def _dense(self, features: Any) -> Any:
        layer = self._model.get_layer("logits")
        flat = tf.reshape(features, (-1, features.shape[-1]))
        logits = tf.matmul(flat, layer.kernel.value) + layer.bias.value
        return tf.reshape(logits, (*features.shape[:-1], self._alphabet_size))


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _joined(left: Any, right: Any) -> Any:
    """As `tf.concat` on the last axis, whose own gradient is ten times slower."""
    sizes = [left.shape[-1], right.shape[-1]]
    return tf.concat([left, right], -1), lambda gradient: tf.split(gradient, sizes, -1)


def _lstm(features: Any, cell: Any, reduced: bool) -> Any:
    weights = (cell.kernel.value, cell.recurrent_kernel.value, cell.bias.value)
    if features.dtype == tf.int32:
        return fast_lstm.lstm_of_symbols(features, *weights, reduced=reduced)
    return fast_lstm.lstm(features, *weights, reduced=reduced)
