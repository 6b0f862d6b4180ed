"""Weights of Keras in the layout that the CPU kernels use, kept in variables of their own.

That layout has the gates in the order of TensorFlow's LSTM kernels (`lstm_kernels.py`) and may have
idle units. Converting weights takes several copies, and gradients as many. So each weight, and
each slot variable of the optimizer, is kept twice in a process: as a Keras variable and in this
layout, and is converted only when the Keras variable is read.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lstm_sweep.models.config import ClassConfig, TrialConfig

#: places in Keras's order of gates (input, forget, candidate, output) of the kernels' gates (input,
#: candidate, forget, output); the permutation is its own inverse
GATES = (0, 2, 1, 3)

#: an LSTM layer of at least `CROWDED_FROM` units, if a multiple of `CROWDED_MULTIPLE`, gets so many
#: idle units (with weights of zero): matrix rows that lie a power of two apart share few cache
#: lines, and TensorFlow's matrix products then take up to twice as long
IDLE_UNITS, CROWDED_FROM, CROWDED_MULTIPLE = 4, 128, 64

Array = NDArray[Any]


def idle_units(layer_size: int) -> int:
    crowded = layer_size >= CROWDED_FROM and layer_size % CROWDED_MULTIPLE == 0
    return IDLE_UNITS if crowded else 0


class WeightLayout(NamedTuple):
    """Converts a weight, a gradient or slot variable of it, or a state, between the two layouts.

    The columns of a weight may be four blocks, one for each gate; its rows may be one block for
    each layer of units that it reads. Idle units are added at the end of each of these blocks. For
    example, `pack` converts the kernel of an LSTM layer of 1 unit as follows, with one idle unit:

        input  forget  candidate  output      input  -  candidate  -  forget  -  output  -
         10      20        30       40    ->    10   0      30     0    20    0    40    0
    """

    #: number of axes, 1 or 2
    axes: int
    #: number of blocks of units along the rows: 2 after a bidirectional layer, 0 if rows are not
    #: units
    unit_blocks: int = 0
    #: number of blocks of units along the columns: 4 for gates, 1 for a state, 0 for none
    gates: int = 0
    #: idle units of each layer
    idle: int = 0

    def pack(self, array: Array, idle_value: float = 0.0) -> Array:
        """Convert from Keras's layout; idle units get `idle_value`."""
        blocks = self._blocks(array)
        count, rows, gates, columns = blocks.shape
        shape = (count, rows + self._idle_rows, gates, columns + self._idle_columns)
        packed = np.full(shape, idle_value, array.dtype)
        for place, gate in enumerate(self._order):
            packed[:, :rows, place, :columns] = blocks[:, :, gate]
        return self._joined(packed)

    def unpack(self, array: Array) -> Array:
        """Convert to Keras's layout, without idle units."""
        blocks = self._blocks(array)
        _, rows, _, columns = blocks.shape
        used = blocks[:, : rows - self._idle_rows, :, : columns - self._idle_columns]
        return self._joined(used[:, :, self._order])

    @property
    def _idle_rows(self) -> int:
        return self.idle if self.unit_blocks else 0

    @property
    def _idle_columns(self) -> int:
        return self.idle if self.gates else 0

    @property
    def _order(self) -> tuple[int, ...]:
        return GATES if self.gates == len(GATES) else (0,)

    def _blocks(self, array: Array) -> Array:
        """View as `[blocks of rows, rows, gates, columns]`."""
        rows, columns = array.shape if self.axes == 2 else (1, *array.shape)
        blocks, gates = self.unit_blocks or 1, len(self._order)
        return array.reshape(blocks, rows // blocks, gates, columns // gates)

    def _joined(self, blocks: Array) -> Array:
        count, rows, gates, columns = blocks.shape
        return blocks.reshape((count * rows, gates * columns)[2 - self.axes :])


def weight_layouts(config: TrialConfig) -> list[WeightLayout]:
    """Layout of each weight of a network, in Keras's order of weights."""
    attention = isinstance(config, ClassConfig) and config.pooling == "attention"
    directions = 1 if config.direction == "uni" else 2
    idle = idle_units(config.layer_size)
    gated = partial(WeightLayout, gates=len(GATES), idle=idle)
    cells = list[WeightLayout]()
    for number in range(config.layers):
        kernel = gated(2, unit_blocks=directions if number else 0)
        cells += [kernel, gated(2, unit_blocks=1), gated(1)] * directions
    of_outputs = WeightLayout(2, unit_blocks=directions, idle=idle)
    dense = [*[of_outputs] * attention, of_outputs, WeightLayout(1)]
    return [WeightLayout(2)] * bool(config.embedding_size) + cells + dense


class KernelVariable:
    """A TensorFlow variable with the values of a Keras variable in the kernels' layout."""

    def __init__(self, variable: Any, layout: WeightLayout, idle_value: float = 0.0) -> None:
        self.variable, self.layout = variable, layout
        value = layout.pack(variable.numpy(), idle_value)
        self._shape = value.shape
        #: resource handle, as TensorFlow's raw operations take it
        self.handle = _new_variable(value)

    @property
    def value(self) -> Array:
        value: Array = tf.raw_ops.ReadVariableOp(resource=self.handle, dtype=tf.float32).numpy()
        return value

    def zeros(self) -> Any:
        return _new_variable(np.zeros(self._shape, np.float32))

    def sync(self) -> None:
        tf.raw_ops.AssignVariableOp(
            resource=self.variable.value.handle,
            value=self.layout.unpack(self.value),
            validate_shape=True,
        )


def _new_variable(value: Array) -> Any:
    """Handle of an anonymous resource variable, which is freed with its handle.

    This takes a tenth of the time that `tf.Variable` takes.
    """
    from tensorflow.python.eager import context  # not public

    handle = tf.raw_ops.VarHandleOp(
        dtype=tf.float32, shape=value.shape, shared_name=context.anonymous_name()
    )
    tf.raw_ops.AssignVariableOp(resource=handle, value=value)
    return handle
