"""Programs that read windows or streams in parts, each from the states after the part before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from typing_extensions import override

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.windows import Indices
from lstm_sweep.models.fast.forward import Stack
from lstm_sweep.models.fast.graph_cache import GraphCache
from lstm_sweep.models.fast.lstm_parts import State
from lstm_sweep.models.fast.program_types import (
    Float32s,
    Networks,
    States,
    StepProgram,
    Stream,
    StreamProgram,
    last_logits,
)
from lstm_sweep.models.fast.training_loop import FastProgram, values_of
from lstm_sweep.models.fast.weight_layout import idle_units


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
