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
        ends = (self.idle if self.rows else 0), (self.idle if self.gates else 0)
        wide = np.pad(blocks, ((0, 0), (0, ends[0]), (0, 0), (0, ends[1])), constant_values=of_idle)
        return self._joined(self._exchanged(wide))

    def unpack(self, array: Array) -> Array:
        """Into Keras's form."""
        blocks = self._exchanged(self._blocks(array))
        rows, columns = blocks.shape[1], blocks.shape[3]
        rows -= self.idle if self.rows else 0
        columns -= self.idle if self.gates else 0
        return self._joined(blocks[:, :rows, :, :columns])

    def _blocks(self, array: Array) -> Array:
        """`[blocks of rows, rows, gates, columns]`."""
        rows, columns = array.shape if self.axes == 2 else (1, *array.shape)
        blocks, gates = self.rows or 1, len(GATES) if self.gates else 1
        return array.reshape(blocks, rows // blocks, gates, columns // gates)

    def _exchanged(self, blocks: Array) -> Array:
        return blocks[:, :, GATES] if self.gates else blocks

    def _joined(self, blocks: Array) -> Array:
        a, rows, gates, columns = blocks.shape
        shape = (a * rows, gates * columns)
        return np.ascontiguousarray(blocks).reshape(shape if self.axes == 2 else shape[1:])


class Packed:
    """A variable of Keras, and one that has its values in the form of our own."""

    def __init__(self, variable: Any, packing: Packing, of_idle: float = 0.0) -> None:
        self.packing, self._variable = packing, variable
        self._packed = tf.Variable(packing.pack(variable.numpy(), of_idle))

    @property
    def handle(self) -> Any:
        """That of the second."""
        return self._packed.handle

    def zeros(self) -> Any:
        """A variable as large as the second."""
        return tf.Variable(tf.zeros_like(self._packed))

    def settle(self) -> None:
        """Give the first the values of the second."""
        self._variable.assign(self.packing.unpack(self._packed.numpy()))
