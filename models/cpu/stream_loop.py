"""Training loops of networks whose state is carried, and loops that read a stream of symbols."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from typing_extensions import override

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.cpu.forward import Dropout, Stack
from lstm_sweep.models.cpu.graph_cache import GraphCache
from lstm_sweep.models.cpu.lstm_kernels import State
from lstm_sweep.models.cpu.optimizer import Handles
from lstm_sweep.models.cpu.program_types import (
    Float32s,
    Networks,
    States,
    StepProgram,
    Stream,
    StreamProgram,
    last_logits,
)
from lstm_sweep.models.cpu.training_loop import (
    FastProgram,
    KerasProgram,
    handles_of,
    loop,
    values_of,
)
from lstm_sweep.models.cpu.weight_layout import Array, KernelVariable, WeightLayout, idle_units
from lstm_sweep.models.data.streams import CarriedSteps
from lstm_sweep.models.data.windows import Indices, StepWindows


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
        targets, weights = _targets(tf.transpose(windows), counted)
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
        targets, weights = _targets(windows, counted)
        before = [_read(handle) * goes_on[:, None] for handle in states]
        stack = Stack(self._form, values_of(self._form, handles.weights))
        dropout_now = self._dropout_of(handles, dropout)
        # what follows the targets of a window fills it up; a row that is done has none
        lengths = tf.maximum(counted, 1)
        logits, gradients, after = stack.carried(windows[:-1], dropout_now, pairs(before), lengths)
        for handle, value in zip(states, flat(after), strict=True):
            tf.raw_ops.AssignVariableOp(resource=handle, value=value)
        return self._update(handles, weight_decay, logits, gradients, targets, weights)


def _targets(windows: Any, counted: Any) -> tuple[Any, Any]:
    """Targets in windows `<int32>[time + 1, batch]`, and their weights: the first `counted` are 1.

    Both are `[time, batch]`.
    """
    steps = tf.range(tf.shape(windows)[0] - 1)
    return windows[1:], tf.cast(steps[:, None] < counted, tf.float32)


def _read(handle: Any) -> Any:
    value = tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32)
    value.set_shape([None, None])
    return value
