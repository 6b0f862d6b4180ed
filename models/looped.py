"""Many training steps in one call of TensorFlow, whose loop needs no Python between two of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from models.config import TrialConfig
from models.fast_optimizer import FastOptimizer, Handles
from models.graphs import Graphs
from models.lstm import Networks
from models.packed import Packed, packings
from models.program import Floats
from models.stack import Dropout, Form, Stack, losses
from models.windows import Cut

#: windows `<int32>[batch, time + 1]` and the first step that counts, `<int32>[batch]` -> mean loss
#: and number of targets
Step = Callable[[Any, Any], tuple[Any, Any]]


class OfLayers:
    """By the layers of Keras; on a GPU they use cuDNN."""

    def __init__(self, networks: Networks, config: TrialConfig) -> None:
        self._networks, self._every_step = networks, config.direction == "uni"
        self._optimizer = networks.trained.optimizer
        windows = tf.TensorSpec((None, config.batch_size, config.sequence_length + 1), tf.int32)
        first = tf.TensorSpec((None, config.batch_size), tf.int32)
        self._train = tf.function(
            lambda windows, first: _loop(self._step, windows, first),
            input_signature=(windows, first),
            autograph=False,
        )
        self._logits = tf.function(
            lambda windows: networks.scored(windows, training=False), autograph=False
        )

    def train(self, cut: Cut) -> tuple[Floats, Floats]:
        """See `Program`."""
        found, weights = self._train(cut.codes, cut.first)
        return found.numpy(), weights.numpy()

    def logits(self, windows: NDArray[np.int32]) -> Floats:
        """See `Program`."""
        logits: Floats = self._logits(windows).numpy()
        return logits

    def settle(self) -> None:
        """See `Program`."""
        self._networks.settle()

    def _step(self, windows: Any, first: Any) -> tuple[Any, Any]:
        targets, weights = _targets(tf.transpose(windows), first, self._every_step)
        weight = tf.reduce_sum(weights)
        variables = self._networks.trained.trainable_variables
        with tf.GradientTape() as tape:
            logits = self._networks.trained(windows[:, :-1], training=True)
            if self._every_step:
                logits = tf.transpose(logits, (1, 0, 2))
            found = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
            loss = _mean(found, weights, weight)
            scaled = self._optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, [variable.value for variable in variables])
        # of an embedding too: of one that is not, Keras would square the parts and not their sum
        self._optimizer.apply([tf.convert_to_tensor(one) for one in gradients], variables)
        return loss, weight


class OfStack:
    """By arithmetic of our own, faster on a CPU (`models/stack.py`)."""

    def __init__(self, networks: Networks, config: TrialConfig, seed: int, graphs: Graphs) -> None:
        self._form = Form.of(config, networks.scored.output_shape[-1])
        self._networks, self._packings = networks, packings(config)
        self._dropout = (tf.constant(config.dropout), tf.constant(64 * seed, tf.int64))
        self._train = graphs.function(f"train {config.optimizer} {self._form}", self._trace_train)
        self._logits = graphs.function(f"logits {self._form.scored}", self._trace_logits)

    def train(self, cut: Cut) -> tuple[Floats, Floats]:
        """See `Program`."""
        found, weights = self._train(cut.codes, cut.first, *self._dropout, *self._handles())
        return found.numpy(), weights.numpy()

    def logits(self, windows: NDArray[np.int32]) -> Floats:
        """See `Program`."""
        (logits,) = self._logits(windows, *[weight.handle for weight in self._weights])
        found: Floats = logits.numpy()
        return found

    def settle(self) -> None:
        """See `Program`."""
        if "_optimizer" in vars(self):  # else nothing was trained
            for weight in self._weights:
                weight.settle()
            self._optimizer.settle()
        self._networks.settle()

    @cached_property
    def _weights(self) -> list[Packed]:
        """Made when they are needed: until then a training may be taken up."""
        variables = self._networks.trained.trainable_variables
        return [Packed(*one) for one in zip(variables, self._packings, strict=True)]

    @cached_property
    def _optimizer(self) -> FastOptimizer:
        return FastOptimizer(self._networks.trained.optimizer, self._weights)

    def _handles(self) -> list[Any]:
        """All of the optimizer's handles, one after the other."""
        weights, kept, *others = self._optimizer.handles
        return [*weights, *kept, *others]

    def _trace_train(self) -> Any:
        handles = self._optimizer.handles
        count = len(handles.weights)

        def train(windows: Any, first: Any, rate: Any, seed: Any, *flat: Any) -> tuple[Any, Any]:
            given = Handles(flat[:count], flat[count:-2], *flat[-2:])
            return _loop(lambda *one: self._step(given, rate, seed, *one), windows, first)

        signature = [
            tf.TensorSpec((None, None, None), tf.int32),
            tf.TensorSpec((None, None), tf.int32),
            tf.TensorSpec((), tf.float32),
            tf.TensorSpec((), tf.int64),
            *[tf.TensorSpec((), tf.resource) for _ in self._handles()],
        ]
        return tf.function(train, signature, autograph=False).get_concrete_function()

    def _trace_logits(self) -> Any:
        form = self._form.scored

        def logits(windows: Any, *weights: Any) -> tuple[Any]:
            return (Stack(form, _values(form, weights)).scored(windows),)

        signature = [
            tf.TensorSpec((None, None), tf.int32),
            *[tf.TensorSpec((), tf.resource) for _ in form.axes],
        ]
        return tf.function(logits, signature, autograph=False).get_concrete_function()

    def _step(
        self, handles: Handles, rate: Any, seed: Any, windows: Any, first: Any
    ) -> tuple[Any, Any]:
        windows = tf.transpose(windows)  # [time + 1, batch]
        targets, weights = _targets(windows, first, self._form.every_step)
        weights = tf.reshape(weights, (-1,))
        weight = tf.reduce_sum(weights)
        variables = _values(self._form, handles.weights)
        dropout = None
        if self._form.dropout:
            iteration = tf.raw_ops.ReadVariableOp(resource=handles.iterations, dtype=tf.int64)
            dropout = Dropout(rate, tf.stack([seed, iteration]))
        logits, gradients = Stack(self._form, variables).trained(windows[:-1], dropout)
        found, of_logits = losses(logits, tf.reshape(targets, (-1,)))
        shares = tf.math.divide_no_nan(weights, weight)
        self._optimizer.step(handles, gradients(of_logits * shares[:, None]))
        return tf.reduce_sum(found * shares), weight


def _loop(step: Step, windows: Any, first: Any) -> tuple[Any, Any]:
    """Take a step for each of `windows`: mean losses and numbers of targets."""
    count = tf.shape(windows)[0]

    def turn(number: Any, means: Any, weights: Any) -> tuple[Any, Any, Any]:
        mean, weight = step(windows[number], first[number])
        return number + 1, means.write(number, mean), weights.write(number, weight)

    results = [tf.TensorArray(tf.float32, count, element_shape=()) for _ in range(2)]
    _, means, weights = tf.while_loop(
        lambda number, *_: number < count, turn, (tf.constant(0), *results), parallel_iterations=1
    )
    return means.stack(), weights.stack()


def _targets(windows: Any, first: Any, every_step: bool) -> tuple[Any, Any]:
    """What is predicted in windows `<int32>[time + 1, batch]`, and 1 for what of it counts or 0."""
    length = tf.shape(windows)[0] - 1
    if not every_step:
        return windows[-1], tf.cast(first < length, tf.float32)
    return windows[1:], tf.cast(tf.range(length)[:, None] >= first, tf.float32)


def _mean(found: Any, weights: Any, weight: Any) -> Any:
    return tf.math.divide_no_nan(tf.reduce_sum(found * weights), weight)


def _values(form: Form, handles: Sequence[Any]) -> list[Any]:
    values = []
    for handle, axes in zip(handles, form.axes, strict=True):
        value = tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32)
        value.set_shape([None] * axes)
        values.append(value)
    return values
