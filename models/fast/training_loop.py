"""Programs that run many training steps in one call of a TensorFlow graph.

The loop over steps is part of the graph, so no Python runs between two steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from typing_extensions import override

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.windows import StepWindows
from lstm_sweep.models.fast.forward import Dropout, Form, Stack, losses
from lstm_sweep.models.fast.graph_cache import GraphCache
from lstm_sweep.models.fast.optimizer import FastOptimizer, Handles
from lstm_sweep.models.fast.program_types import Float32s, Networks, Program
from lstm_sweep.models.fast.weight_layout import KernelVariable, weight_layouts

#: one training step: windows `<int32>[batch, time + 1]` and the first time step of each whose
#: target counts, `<int32>[batch]` -> mean loss and number of counted targets
Step = Callable[[Any, Any], tuple[Any, Any]]


class KerasProgram(Program):
    """Computes with Keras's layers, which use cuDNN on a GPU."""

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

    @override
    def train(self, windows: StepWindows) -> tuple[Float32s, Float32s]:
        means, counts = self._train(windows.codes, windows.first)
        return means.numpy(), counts.numpy()

    @override
    def logits(self, windows: NDArray[np.int32]) -> Float32s:
        logits: Float32s = self._logits(windows).numpy()
        return logits

    @override
    def sync(self) -> None:
        self._networks.sync()

    def _step(self, windows: Any, first: Any) -> tuple[Any, Any]:
        targets, target_weights = _targets(tf.transpose(windows), first, self._every_step)
        count = tf.reduce_sum(target_weights)
        variables = self._networks.trained.trainable_variables
        with tf.GradientTape() as tape:
            logits = self._networks.trained(windows[:, :-1], training=True)
            if self._every_step:
                logits = tf.transpose(logits, (1, 0, 2))
            target_losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
            loss = tf.math.divide_no_nan(tf.reduce_sum(target_losses * target_weights), count)
            scaled = self._optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, [variable.value for variable in variables])
        # the gradient of an embedding is sparse; Keras would square its parts and not their sum
        dense = [tf.convert_to_tensor(gradient) for gradient in gradients]
        self._optimizer.apply(dense, variables)
        return loss, count


class FastProgram(Program):
    """Computes with the kernels of `models/fast/forward.py`, which are faster on a CPU.

    Weights and optimizer state are kept in the layout of these kernels until `sync` is called.
    """

    def __init__(
        self, networks: Networks, config: TrialConfig, seed: int, graphs: GraphCache
    ) -> None:
        self._form = Form.of(config, networks.scored.output_shape[-1])
        self._networks, self._layouts = networks, weight_layouts(config)
        # each layer adds its number, at most 16, to the seed of its dropout
        self._dropout = (tf.constant(config.dropout), tf.constant(64 * seed, tf.int64))
        self._train = graphs.function(f"train {config.optimizer} {self._form}", self._trace_train)
        self._logits = graphs.function(f"logits {self._form.scored}", self._trace_logits)

    @override
    def train(self, windows: StepWindows) -> tuple[Float32s, Float32s]:
        inputs = (windows.codes, windows.first, *self._dropout, *self._handles())
        means, counts = self._train(*inputs)
        return means.numpy(), counts.numpy()

    @override
    def logits(self, windows: NDArray[np.int32]) -> Float32s:
        (logits,) = self._logits(windows, *[weight.handle for weight in self._weights])
        result: Float32s = logits.numpy()
        return result

    @override
    def sync(self) -> None:
        if "_optimizer" in vars(self):  # otherwise no step was taken
            for weight in self._weights:
                weight.sync()
            self._optimizer.sync()
        self._networks.sync()

    @cached_property
    def _weights(self) -> list[KernelVariable]:
        """Created at the first use, after a checkpoint may have set the Keras variables."""
        variables = self._networks.trained.trainable_variables
        return [
            KernelVariable(variable, layout)
            for variable, layout in zip(variables, self._layouts, strict=True)
        ]

    @cached_property
    def _optimizer(self) -> FastOptimizer:
        return FastOptimizer(self._networks.trained.optimizer, self._weights)

    def _handles(self) -> list[Any]:
        """All handles of the optimizer as one list."""
        weights, slots, *others = self._optimizer.handles
        return [*weights, *slots, *others]

    def _trace_train(self) -> Any:
        count = len(self._optimizer.handles.weights)

        def train(
            windows: Any, first: Any, dropout_rate: Any, dropout_seed: Any, *flat: Any
        ) -> tuple[Any, Any]:
            handles = Handles(flat[:count], flat[count:-2], *flat[-2:])
            step = partial(self._step, handles, dropout_rate, dropout_seed)
            return _loop(step, windows, first)

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
        self, handles: Handles, dropout_rate: Any, dropout_seed: Any, windows: Any, first: Any
    ) -> tuple[Any, Any]:
        windows = tf.transpose(windows)  # [time + 1, batch]
        targets, target_weights = _targets(windows, first, self._form.every_step)
        target_weights = tf.reshape(target_weights, (-1,))
        count = tf.reduce_sum(target_weights)
        variables = _values(self._form, handles.weights)
        dropout = None
        if self._form.dropout:
            iteration = tf.raw_ops.ReadVariableOp(resource=handles.iterations, dtype=tf.int64)
            dropout = Dropout(dropout_rate, tf.stack([dropout_seed, iteration]))
        logits, gradients = Stack(self._form, variables).trained(windows[:-1], dropout)
        target_losses, logit_gradients = losses(logits, tf.reshape(targets, (-1,)))
        shares = tf.math.divide_no_nan(target_weights, count)  # of each target in the mean loss
        self._optimizer.step(handles, gradients(logit_gradients * shares[:, None]))
        return tf.reduce_sum(target_losses * shares), count


def _loop(step: Step, windows: Any, first: Any) -> tuple[Any, Any]:
    """Take one step for each of `windows` `<int32>[steps, batch, time + 1]`.

    Returns mean losses and numbers of counted targets, both `[steps]`.
    """
    steps = tf.shape(windows)[0]

    def body(number: Any, means: Any, counts: Any) -> tuple[Any, Any, Any]:
        mean, count = step(windows[number], first[number])
        return number + 1, means.write(number, mean), counts.write(number, count)

    results = [tf.TensorArray(tf.float32, steps, element_shape=()) for _ in range(2)]
    _, means, counts = tf.while_loop(
        lambda number, *_: number < steps, body, (tf.constant(0), *results), parallel_iterations=1
    )
    return means.stack(), counts.stack()


def _targets(windows: Any, first: Any, every_step: bool) -> tuple[Any, Any]:
    """Targets in windows `<int32>[time + 1, batch]` and their weights, 1 if they count, else 0.

    Both are `[time, batch]` with `every_step`, else `[batch]`.
    """
    length = tf.shape(windows)[0] - 1
    if not every_step:
        return windows[-1], tf.cast(first < length, tf.float32)
    return windows[1:], tf.cast(tf.range(length)[:, None] >= first, tf.float32)


def _values(form: Form, handles: Sequence[Any]) -> list[Any]:
    """Read the variables of `handles`; only their numbers of axes are known to the graph."""
    values = []
    for handle, axes in zip(handles, form.axes, strict=True):
        value = tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32)
        value.set_shape([None] * axes)
        values.append(value)
    return values
