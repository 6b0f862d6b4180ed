"""Weights of Keras as the arithmetic of our own keeps them while it trains.

It has the gates of a layer in another order, that of TensorFlow's kernels, and may have idle units,
which have no weights. To bring weights into that form takes several copies, and their gradients
back as many; so it is done before the first training step and undone after the last, to all that
the optimizer keeps of them, too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

#: where in Keras's order of gates those of TensorFlow's kernels are, and the other way round
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


class Packed:
    """A variable of Keras, and one that has its values in the form of our own."""

    def __init__(self, variable: Any, packing: Packing, of_idle: float = 0.0) -> None:
        self.packing, self._variable = packing, variable
        #: of the second
        self.handle = _variable(packing.pack(variable.numpy(), of_idle))

    @property
    def value(self) -> Array:
        """In the form of our own."""
        value: Array = tf.raw_ops.ReadVariableOp(resource=self.handle, dtype=tf.float32).numpy()
        return value

    def zeros(self) -> Any:
        """Handle of a variable as large as the second."""
        return _variable(np.zeros_like(self.value))

    def settle(self) -> None:
        """Give the first the values of the second."""
        value = self.packing.unpack(self.value)
        tf.raw_ops.AssignVariableOp(resource=self._variable.value.handle, value=value)


def _variable(value: Array) -> Any:
    """Handle of a new variable, as of `tf.Variable`, in a tenth of the time; it goes with it."""
    from tensorflow.python.eager import context  # not public

    handle = tf.raw_ops.VarHandleOp(
        dtype=tf.float32, shape=value.shape, shared_name=context.anonymous_name()
    )
    tf.raw_ops.AssignVariableOp(resource=handle, value=value)
    return handle
