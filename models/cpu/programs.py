"""Programs that run many training steps in one call of a TensorFlow graph.

The loop over steps is part of the graph, so no Python runs between two steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from itertools import islice
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from typing_extensions import override

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.cpu import optimizer as averaging
from lstm_sweep.models.cpu.forward import SEED_STRIDE, Dropout, Form, Stack, losses
from lstm_sweep.models.cpu.graph_cache import GraphCache
from lstm_sweep.models.cpu.lstm_kernels import State
from lstm_sweep.models.cpu.optimizer import FastOptimizer, Handles
from lstm_sweep.models.cpu.program_types import (
    Float32s,
    Networks,
    Program,
    States,
    StepProgram,
    Stream,
    StreamProgram,
    last_logits,
)
from lstm_sweep.models.cpu.weight_layout import (
    Array,
    KernelVariable,
    WeightLayout,
    idle_units,
    weight_layouts,
)
from lstm_sweep.models.data.streams import CarriedSteps
from lstm_sweep.models.data.windows import Indices, StepWindows


class KerasProgram(StepProgram):
    """Computes with Keras's layers, which use cuDNN on a GPU."""

    def __init__(self, networks: Networks, config: TrialConfig) -> None:
        self._networks, self._every_step = networks, config.direction == "uni"
        self._optimizer = networks.trained.optimizer
        windows = tf.TensorSpec((None, config.batch_size, config.sequence_length + 1), tf.int32)
        first = tf.TensorSpec((None, config.batch_size), tf.int32)
        self._train = tf.function(
            lambda windows, first: loop(self._step, windows, first),
            input_signature=(windows, first),
            autograph=False,
        )
        self._logits = tf.function(
            lambda windows: networks.scored(windows, training=False), autograph=False
        )
        self._logits_of_steps = tf.function(
            lambda windows: networks.every_step(windows, training=False), autograph=False
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
    def last_logits(self, windows: NDArray[np.int32], count: int) -> Float32s:
        logits: Float32s = self._logits_of_steps(windows)[:, -count:].numpy()
        return logits

    @override
    def sync(self) -> None:
        self._networks.sync()

    def _step(self, windows: Any, first: Any) -> tuple[Any, Any]:
        targets, target_weights = _targets(tf.transpose(windows), first, self._every_step)
        return self._update(windows[:, :-1], targets, target_weights)

    def _update(self, inputs: Any, targets: Any, target_weights: Any) -> tuple[Any, Any]:
        """Take the step of the optimizer; return the mean loss and the number of targets."""
        count = tf.reduce_sum(target_weights)
        variables = self._networks.trained.trainable_variables
        with tf.GradientTape() as tape:
            logits = self._networks.trained(inputs, training=True)
            if self._every_step:
                logits = tf.transpose(logits, (1, 0, 2))
            target_losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
            loss = tf.math.divide_no_nan(tf.reduce_sum(target_losses * target_weights), count)
            scaled = self._optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, [variable.value for variable in variables])
        # the gradient of an embedding is sparse; Keras would square its parts and not their sum
        dense = [tf.convert_to_tensor(gradient) for gradient in gradients]
        self._optimizer.apply(dense, variables)
        self._average(variables)
        return loss, count

    def _average(self, variables: Sequence[Any]) -> None:
        """Average the weights after each step: a choice in the graph would make a GPU wait."""
        if not self._networks.averages:
            return
        optimizer = getattr(self._optimizer, "inner_optimizer", self._optimizer)
        # none is counted if the gradients of a first step were not finite
        step = tf.maximum(tf.cast(optimizer.iterations, tf.float32), 1.0)
        share = averaging.share_of_each(step)
        for average, variable in zip(self._networks.averages, variables, strict=True):
            average.assign_add(share * (variable.value - average.value))


class FastProgram(Program):
    """Computes with the kernels of `models/cpu/forward.py`, which are faster on a CPU.

    Weights and optimizer state are kept in the layout of these kernels until `sync` is called.
    """

    def __init__(
        self, networks: Networks, config: TrialConfig, seed: int, graphs: GraphCache
    ) -> None:
        self._form = Form.of(config, networks.scored.output_shape[-1])
        self._networks, self._layouts = networks, weight_layouts(config)
        # each layer adds its number, below `SEED_STRIDE`, to the seed of dropout
        dropout_seed = tf.constant(SEED_STRIDE * seed, tf.int64)
        self._numbers = tf.constant(config.dropout), dropout_seed, tf.constant(config.weight_decay)
        steps = config.optimizer, bool(config.weight_decay), config.averaging
        self._train = graphs.function(f"train {steps} {self._form}", self._trace_train)
        self._logits = graphs.function(f"logits {self._form.scored}", self._trace_logits)

    @override
    def train(self, windows: StepWindows) -> tuple[Float32s, Float32s]:
        inputs = (windows.codes, windows.first, *self._numbers, *self._handles())
        means, counts = self._train(*inputs)
        return means.numpy(), counts.numpy()

    @override
    def logits(self, windows: NDArray[np.int32]) -> Float32s:
        (logits,) = self._logits(windows, *self._scored)
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
    def _averages(self) -> list[KernelVariable]:
        """Averages of the weights, if there are any; created as the weights are."""
        return list(map(KernelVariable, self._networks.averages, self._layouts))

    @property
    def _scored(self) -> list[Any]:
        """Handles of the weights that predict."""
        return [weight.handle for weight in self._averages or self._weights]

    @cached_property
    def _optimizer(self) -> FastOptimizer:
        optimizer = self._networks.trained.optimizer
        return FastOptimizer(optimizer, self._weights, self._averages)

    def _handles(self) -> list[Any]:
        """All handles of the optimizer as one list."""
        weights, slots, averages, *others = self._optimizer.handles
        return [*weights, *slots, *averages, *others]

    def _counts(self) -> list[int]:
        """Numbers of weights, slot variables and averages."""
        return [len(part) for part in self._optimizer.handles[:3]]

    def _trace_train(self) -> Any:
        counts = self._counts()

        def train(
            windows: Any,
            first: Any,
            dropout_rate: Any,
            dropout_seed: Any,
            weight_decay: Any,
            *flat: Any,
        ) -> tuple[Any, Any]:
            dropout = Dropout(dropout_rate, dropout_seed)
            step = partial(self._step, handles_of(counts, flat), dropout, weight_decay)
            return loop(step, windows, first)

        signature = [
            tf.TensorSpec((None, None, None), tf.int32),
            tf.TensorSpec((None, None), tf.int32),
            *[tf.TensorSpec((), number.dtype) for number in self._numbers],
            *[tf.TensorSpec((), tf.resource) for _ in self._handles()],
        ]
        return tf.function(train, signature, autograph=False).get_concrete_function()

    def _trace_logits(self) -> Any:
        form = self._form.scored

        def logits(windows: Any, *weights: Any) -> tuple[Any]:
            return (Stack(form, values_of(form, weights)).scored(windows),)

        signature = [
            tf.TensorSpec((None, None), tf.int32),
            *[tf.TensorSpec((), tf.resource) for _ in form.axes],
        ]
        return tf.function(logits, signature, autograph=False).get_concrete_function()

    def _step(
        self,
        handles: Handles,
        dropout: Dropout,
        weight_decay: Any,
        windows: Any,
        first: Any,
    ) -> tuple[Any, Any]:
        windows = tf.transpose(windows)  # [time + 1, batch]
        targets, target_weights = _targets(windows, first, self._form.every_step)
        stack = Stack(self._form, values_of(self._form, handles.weights))
        dropout_now = self._dropout_of(handles, dropout)
        logits, gradients = stack.trained(windows[:-1], dropout_now)
        return self._update(handles, weight_decay, logits, gradients, targets, target_weights)

    def _dropout_of(self, handles: Handles, dropout: Dropout) -> Dropout | None:
        """Dropout of the step that is next; `dropout` has the seed of the trial alone."""
        if not self._form.dropout:
            return None
        iteration = tf.raw_ops.ReadVariableOp(resource=handles.iterations, dtype=tf.int64)
        return dropout._replace(seed=tf.stack([dropout.seed, iteration]))

    def _update(
        self,
        handles: Handles,
        weight_decay: Any,
        logits: Any,
        gradients: Any,
        targets: Any,
        target_weights: Any,
    ) -> tuple[Any, Any]:
        """Take the step of the optimizer; return the mean loss and the number of targets."""
        target_weights = tf.reshape(target_weights, (-1,))
        count = tf.reduce_sum(target_weights)
        target_losses, logit_gradients = losses(logits, tf.reshape(targets, (-1,)))
        shares = tf.math.divide_no_nan(target_weights, count)  # of each target in the mean loss
        self._optimizer.step(handles, gradients(logit_gradients * shares[:, None]), weight_decay)
        return tf.reduce_sum(target_losses * shares), count


def loop(step: Callable[..., tuple[Any, Any]], *inputs: Any) -> tuple[Any, Any]:
    """Take steps, each with one part of the inputs, whose first axis is that of steps.

    Returns mean losses and numbers of counted targets, both `[steps]`.
    """
    steps = tf.shape(inputs[0])[0]

    def body(number: Any, means: Any, counts: Any) -> tuple[Any, Any, Any]:
        mean, count = step(*[one[number] for one in inputs])
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


def handles_of(counts: Sequence[int], flat: Sequence[Any]) -> Handles:
    """The handles of a list as `FastProgram._handles` makes it; `counts` is its `_counts`."""
    rest = iter(flat)
    parts = [list(islice(rest, count)) for count in counts]
    return Handles(*parts, *rest)


def values_of(form: Form, handles: Sequence[Any]) -> list[Any]:
    """Read the variables of `handles`; only their numbers of axes are known to the graph."""
    values = []
    for handle, axes in zip(handles, form.axes, strict=True):
        value = tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32)
        value.set_shape([None] * axes)
        values.append(value)
    return values


class StreamFastProgram(FastProgram, StepProgram, StreamProgram):
    """As `FastProgram`, of unidirectional networks, which can go on from the states of a part."""

    def __init__(
        self, networks: Networks, config: TrialConfig, seed: int, graphs: GraphCache
    ) -> None:
        super().__init__(networks, config, seed, graphs)
        self._units = config.layer_size + idle_units(config.layer_size)
        self._stream = graphs.function(f"stream {self._form.streamed}", self._trace_stream)

    @override
    def stream(self, codes: NDArray[np.int32], places: Indices, states: States | None) -> Stream:
        if states is None:
            states = [tf.zeros((len(codes), self._units))] * (2 * self._form.layers)
        logits, *after = self._stream(codes, places, *states, *self._scored)
        return logits.numpy(), after

    @override
    def last_logits(self, windows: NDArray[np.int32], count: int) -> Float32s:
        return last_logits(self.stream, windows, count)

    def _trace_stream(self) -> Any:
        form = self._form.streamed
        count = 2 * form.layers

        def stream(codes: Any, places: Any, *inputs: Any) -> list[Any]:
            stack = Stack(form, values_of(form, inputs[count:]))
            logits, after = stack.streamed(tf.transpose(codes), places, pairs(inputs[:count]))
            return [logits, *flat(after)]

        signature = [
            tf.TensorSpec((None, None), tf.int32),
            tf.TensorSpec((None,), tf.int64),
            *[tf.TensorSpec((None, None), tf.float32)] * count,
            *[tf.TensorSpec((), tf.resource)] * len(form.axes),
        ]
        return tf.function(stream, signature, autograph=False).get_concrete_function()


def pairs(flat: Sequence[Any]) -> list[State]:
    """The states of layers from their parts in a row."""
    return [State(*pair) for pair in zip(flat[::2], flat[1::2], strict=True)]


def flat(states: Sequence[State]) -> list[Any]:
    """The parts of the states of layers in a row; the inverse of `pairs`."""
    return [part for state in states for part in state]


class CarriedKerasProgram(KerasProgram, StreamProgram):
    """As `KerasProgram`; the states are variables of the model that is trained."""

    def __init__(self, networks: Networks, config: TrialConfig) -> None:
        super().__init__(networks, config)
        batch = config.batch_size
        signature = [
            tf.TensorSpec((None, batch, config.sequence_length + 1), tf.int32),
            tf.TensorSpec((None, batch), tf.int32),
            tf.TensorSpec((None, batch), tf.float32),
        ]
        self._carried = tf.function(
            lambda *inputs: loop(self._carried_step, *inputs), signature, autograph=False
        )
        self._streamed = tf.function(
            lambda *inputs: networks.streamed([*inputs], training=False),
            autograph=False,
            reduce_retracing=True,
        )

    @override
    def train(self, windows: StepWindows) -> tuple[Float32s, Float32s]:
        assert isinstance(windows, CarriedSteps)
        means, counts = self._carried(windows.codes, windows.counted, windows.goes_on)
        return means.numpy(), counts.numpy()

    @override
    def stream(self, codes: NDArray[np.int32], places: Indices, states: States | None) -> Stream:
        if states is None:
            inputs = self._networks.streamed.inputs[1:]
            states = [tf.zeros((len(codes), one.shape[-1])) for one in inputs]
        logits, *after = self._streamed(codes, *states)
        step, row = np.divmod(places, len(codes))
        return tf.gather_nd(logits, np.stack([row, step], 1)).numpy(), after

    def _carried_step(self, windows: Any, counted: Any, goes_on: Any) -> tuple[Any, Any]:
        targets, weights = _carried_targets(tf.transpose(windows), counted)
        return self._update([windows[:, :-1], goes_on, counted], targets, weights)


class StateLayout(WeightLayout):
    """Converts the states of a layer, `[rows, units]`, as `WeightLayout` does with weights."""

    @override
    def pack(self, array: Array, idle_value: float = 0.0) -> Array:
        return np.pad(array, ((0, 0), (0, self.idle)), constant_values=idle_value)

    @override
    def unpack(self, array: Array) -> Array:
        return array[:, : array.shape[1] - self.idle]


class CarriedFastProgram(StreamFastProgram):
    """As `FastProgram`; the states are kept as the weights are."""

    def __init__(
        self, networks: Networks, config: TrialConfig, seed: int, graphs: GraphCache
    ) -> None:
        super().__init__(networks, config, seed, graphs)
        self._state_layout = StateLayout(axes=2, idle=idle_units(config.layer_size))

    @override
    def train(self, windows: StepWindows) -> tuple[Float32s, Float32s]:
        assert isinstance(windows, CarriedSteps)
        means, counts = self._train(
            *(windows.codes, windows.counted, windows.goes_on, *self._numbers),
            *(state.handle for state in self._kept),
            *self._handles(),
        )
        return means.numpy(), counts.numpy()

    @override
    def sync(self) -> None:
        if "_kept" in vars(self):
            for state in self._kept:
                state.sync()
        super().sync()

    @cached_property
    def _kept(self) -> list[KernelVariable]:
        """Output and state of each layer; created at the first use, as the weights are."""
        variables = self._networks.trained.non_trainable_variables
        kept = [one for one in variables if len(one.shape) == 2]  # others are of dropout
        return [KernelVariable(variable, self._state_layout) for variable in kept]

    @override
    def _trace_train(self) -> Any:
        counts, kept = self._counts(), len(self._kept)

        def train(
            windows: Any,
            counted: Any,
            goes_on: Any,
            dropout_rate: Any,
            dropout_seed: Any,
            weight_decay: Any,
            *inputs: Any,
        ) -> tuple[Any, Any]:
            states, handles = inputs[:kept], handles_of(counts, inputs[kept:])
            dropout = Dropout(dropout_rate, dropout_seed)
            step = partial(self._carried_step, handles, states, dropout, weight_decay)
            return loop(step, windows, counted, goes_on)

        signature = [
            tf.TensorSpec((None, None, None), tf.int32),
            tf.TensorSpec((None, None), tf.int32),
            tf.TensorSpec((None, None), tf.float32),
            *[tf.TensorSpec((), number.dtype) for number in self._numbers],
            *[tf.TensorSpec((), tf.resource)] * (kept + len(self._handles())),
        ]
        return tf.function(train, signature, autograph=False).get_concrete_function()

    def _carried_step(
        self,
        handles: Handles,
        states: Sequence[Any],
        dropout: Dropout,
        weight_decay: Any,
        windows: Any,
        counted: Any,
        goes_on: Any,
    ) -> tuple[Any, Any]:
        windows = tf.transpose(windows)  # [time + 1, batch]
        targets, weights = _carried_targets(windows, counted)
        before = [_read(handle) * goes_on[:, None] for handle in states]
        stack = Stack(self._form, values_of(self._form, handles.weights))
        dropout_now = self._dropout_of(handles, dropout)
        # what follows the targets of a window fills it up; a row that is done has none
        lengths = tf.maximum(counted, 1)
        logits, gradients, after = stack.carried(windows[:-1], dropout_now, pairs(before), lengths)
        for handle, value in zip(states, flat(after), strict=True):
            tf.raw_ops.AssignVariableOp(resource=handle, value=value)
        return self._update(handles, weight_decay, logits, gradients, targets, weights)


def _carried_targets(windows: Any, counted: Any) -> tuple[Any, Any]:
    """Targets in windows `<int32>[time + 1, batch]`, and their weights: the first `counted` are 1.

    Both are `[time, batch]`.
    """
    steps = tf.range(tf.shape(windows)[0] - 1)
    return windows[1:], tf.cast(steps[:, None] < counted, tf.float32)


def _read(handle: Any) -> Any:
    value = tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32)
    value.set_shape([None, None])
    return value
