"""Weights of Keras in the form in which the arithmetic of our own takes them.

It has the gates of a layer in another order, that of TensorFlow's kernels (`models/fast_lstm.py`),
and may have idle units, which have no weights. To bring weights into that form takes several
copies, and their gradients back as many. So they are kept in it, in variables beside those of
Keras, as is all that an optimizer keeps of them: a process has both twice.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from models.config import TrialConfig

#: where in Keras's order of gates those of the kernels are, and the other way round
GATES = (0, 2, 1, 3)

#: units without weights that are added to a layer of so many units or more if their number is such
#: a multiple: rows a power of two apart share a few lines of the cache, and the matrix products of
#: TensorFlow, which read them where they lie, then take up to twice as long
IDLE_UNITS, CROWDED_FROM, CROWDED_MULTIPLE = 4, 128, 64

Array = NDArray[Any]


def idle_units(layer_size: int) -> int:
    """Units without weights that make a layer faster."""
    crowded = layer_size >= CROWDED_FROM and layer_size % CROWDED_MULTIPLE == 0
    return IDLE_UNITS if crowded else 0


class Packing(NamedTuple):
    """How a weight is kept; the last of its axes may be of gates, that before it of units."""

    axes: int
    #: how many times in a column come the units of a layer; 0 if features are no units
    rows: int = 0
    #: whether each row has the four gates
    gates: bool = False
    #: units without weights in each layer
    idle: int = 0

    def pack(self, array: Array, of_idle: float = 0.0) -> Array:
        """From Keras's form; idle units get the value `of_idle`."""
        blocks = self._blocks(array)
        count, rows, gates, columns = blocks.shape
        wide = (rows + self.idle * bool(self.rows), columns + self.idle * self.gates)
        packed = np.full((count, wide[0], gates, wide[1]), of_idle, array.dtype)
        for place, gate in enumerate(self._order):
            packed[:, :rows, place, :columns] = blocks[:, :, gate]
        return self._joined(packed)

    def unpack(self, array: Array) -> Array:
        """Into Keras's form."""
        blocks = self._blocks(array)
        _, rows, _, columns = blocks.shape
        own = blocks[:, : rows - self.idle * bool(self.rows), :, : columns - self.idle * self.gates]
        return self._joined(own[:, :, self._order])

    @property
    def _order(self) -> tuple[int, ...]:
        return GATES if self.gates else (0,)

    def _blocks(self, array: Array) -> Array:
        """`[blocks of rows, rows, gates, columns]`."""
        rows, columns = array.shape if self.axes == 2 else (1, *array.shape)
        blocks, gates = self.rows or 1, len(self._order)
        return array.reshape(blocks, rows // blocks, gates, columns // gates)

    def _joined(self, blocks: Array) -> Array:
        count, rows, gates, columns = blocks.shape
        return blocks.reshape((count * rows, gates * columns)[2 - self.axes :])


def packings(config: TrialConfig) -> list[Packing]:
    """How each weight of a network is kept, in Keras's order."""
    ways = 1 if config.direction == "uni" else 2
    idle = idle_units(config.layer_size)
    gates = partial(Packing, gates=True, idle=idle)
    cells = list[Packing]()
    for number in range(config.layers):
        kernel = gates(2, rows=ways if number else 0)
        cells += [kernel, gates(2, rows=1), gates(1)] * ways
    dense = [Packing(2, rows=ways, idle=idle), Packing(1)]
    return [Packing(2)] * bool(config.embedding_size) + cells + dense


class Packed:
    """A variable of Keras and its twin, which has the values in the form of our own."""

    def __init__(self, variable: Any, packing: Packing, of_idle: float = 0.0) -> None:
        self.variable, self.packing = variable, packing
        value = packing.pack(variable.numpy(), of_idle)
        self._shape = value.shape
        #: of the twin
        self.handle = _new_variable(value)

    @property
    def value(self) -> Array:
        """Values of the twin."""
        value: Array = tf.raw_ops.ReadVariableOp(resource=self.handle, dtype=tf.float32).numpy()
        return value

    def zeros(self) -> Any:
        """Handle of a new variable as large as the twin."""
        return _new_variable(np.zeros(self._shape, np.float32))

    def settle(self) -> None:
        """Give the variable the values of its twin."""
        tf.raw_ops.AssignVariableOp(
            resource=self.variable.value.handle,
            value=self.packing.unpack(self.value),
            validate_shape=True,
        )


def _new_variable(value: Array) -> Any:
    """Handle of a variable that is there as long as its handle.

    As `tf.Variable` makes it, in a tenth of the time.
    """
    from tensorflow.python.eager import context  # not public

    handle = tf.raw_ops.VarHandleOp(
        dtype=tf.float32, shape=value.shape, shared_name=context.anonymous_name()
    )
    tf.raw_ops.AssignVariableOp(resource=handle, value=value)
    return handle
