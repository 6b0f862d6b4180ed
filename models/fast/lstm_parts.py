"""Values and small operations that the forward and the backward pass of an LSTM layer share."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import tensorflow as tf


class Cell(NamedTuple):
    """Weights of a layer in one direction, or their gradients.

    The order of gates is that of `BlockLSTM` and `LSTMBlockCellGrad`: input, candidate, forget,
    output. Keras and `BlockLSTMV2` have the forget gate before the candidate.
    """

    #: `[features, 4 units]`
    kernel: Any
    #: `[units, 4 units]`
    recurrent_kernel: Any
    #: `[4 units]`
    bias: Any


class State(NamedTuple):
    """Output and state of a layer between two time steps, `[batch, units]` each."""

    output: Any
    state: Any


class LayerOptions(NamedTuple):
    """How a layer is computed, and its sizes.

    Sizes are Python numbers or scalar tensors, so one graph can serve layers of all sizes. All
    other fields are built into the graph.
    """

    #: time steps, sequences in a batch, and units of the layer
    steps: Any
    batch: Any
    units: Any
    #: time steps in one iteration of a loop; must divide `steps`
    unroll: int = 1
    #: whether time steps are read from the last to the first
    reverse: bool = False
    #: whether the only output is that of the step that is read last, `[batch, units]`
    last_only: bool = False
    #: whether TensorFlow's own backward kernel is used, which has less overhead per time step, but
    #: computes the gradients of the kernels step by step
    fused: bool = False
    #: whether factors of matrix products are rounded to bfloat16 in training; states, gates and
    #: weights remain float32
    reduced: bool = False
    #: before the step that is read first; None: zeros. Not with `reverse`
    before: State | None = None
    #: number of steps of each row after which its state is taken, `<int32>[batch]`, 1 or more;
    #: None: all. Not with `reverse`
    lengths: Any = None


class Symbols:
    """Symbols `<int32>[time, batch]` as the inputs of a layer, in place of one-hot vectors."""

    def __init__(self, codes: Any, alphabet_size: Any) -> None:
        self.codes, self.alphabet_size = codes, alphabet_size

    @cached_property
    def _sorted(self) -> tuple[Any, Any]:
        """Indices that sort all symbols, and the sorted symbols.

        Cached, so all uses have to be in the same graph.
        """
        flat = tf.reshape(self.codes, (-1,))
        indices = tf.argsort(flat, stable=True)
        return indices, tf.gather(flat, indices)

    def one_hot(self) -> Any:
        """The one-hot vectors, `[time, batch, alphabet]`."""
        return tf.one_hot(self.codes, self.alphabet_size)

    def reversed(self) -> Symbols:
        """The same symbols in reverse order of time."""
        return Symbols(reversed_steps(self.codes), self.alphabet_size)

    def sums(self, rows: Any) -> Any:
        """Sum the rows `[time * batch, any]` of equal symbols: `[alphabet, any]`.

        This is the gradient of a matrix by whose rows the symbols were replaced.
        """
        indices, symbols = self._sorted
        return tf.raw_ops.SparseSegmentSumWithNumSegments(
            data=rows, indices=indices, segment_ids=symbols, num_segments=self.alphabet_size
        )


class TimeStep:
    """The index of a time step, for slicing tensors of all steps without a copy."""

    def __init__(self, number: Any) -> None:
        self._number, self._begin = number, tf.reshape(number, (1,))
        self._stride = tf.ones_like(self._begin)
        self._end = self._begin + self._stride

    def of(self, array: Any) -> Any:
        """Return this step of a tensor `[time, ...]` or of a `TensorArray`."""
        if isinstance(array, tf.TensorArray):
            return array.read(self._number)
        place = {"begin": self._begin, "end": self._end, "strides": self._stride}
        return tf.raw_ops.StridedSlice(input=array, **place, shrink_axis_mask=1)


class ForwardPass(NamedTuple):
    """What the backward pass needs of the forward pass; `[batch, units]` at each time step.

    Fields are tensors `[time, batch, units]` or `TensorArray`s, which need no copy. Steps are in
    the order in which they were read, except for `h`, whose steps are in the order of time.
    """

    #: input gate, candidate, forget gate, output gate
    i: Any
    ci: Any
    f: Any
    o: Any
    #: tanh of the state after each step
    co: Any
    #: states before the first step and after each step, `time + 1` in all
    cs: Any
    #: outputs, always one tensor
    h: Any


def place_of(step: Any, options: LayerOptions) -> Any:
    """Index in time of the step that is read as number `step`."""
    return options.steps - 1 - step if options.reverse else step


def factor(matrix: Any, reduced: bool) -> Any:
    """Round a matrix for `product`; done in advance for one that is used in many products."""
    return tf.cast(matrix, tf.bfloat16) if reduced else matrix


def product(left: Any, right: Any, reduced: bool, **transposed: bool) -> Any:
    """Matrix product in float32, of factors that are rounded to bfloat16 if `reduced`."""
    matrix = tf.matmul(factor(left, reduced), factor(right, reduced), **transposed)
    return tf.cast(matrix, tf.float32) if reduced else matrix


def rows_of(inputs: Any, cell: Cell) -> Any:
    """Inputs of all time steps as one matrix, `[time * batch, features]`."""
    return tf.reshape(inputs, (-1, tf.shape(cell.kernel)[0]))


def sum_of_rows(rows: Any) -> Any:
    """As `tf.reduce_sum(rows, 0)`, five times faster."""
    return tf.reshape(tf.matmul(tf.ones((1, tf.shape(rows)[0])), rows), (-1,))


def reversed_steps(steps: Any) -> Any:
    """As `tf.reverse(steps, [0])`, but copies whole steps and not single numbers."""
    return tf.gather(steps, tf.range(tf.shape(steps)[0] - 1, -1, -1))


def state_before(options: LayerOptions) -> State:
    """State and output before the first step."""
    if options.before is not None:
        return options.before
    zeros = tf.zeros((options.batch, options.units))
    return State(zeros, zeros)


def state_after(outputs: Any, states: Any, options: LayerOptions) -> State:
    """State and output after the last step of each row; both are `[time, batch, units]`."""
    if options.lengths is None:
        return State(outputs[-1], states[-1])
    places = tf.stack([options.lengths - 1, tf.range(options.batch)], 1)
    return State(tf.gather_nd(outputs, places), tf.gather_nd(states, places))


def step_array(size: Any) -> Any:
    """An empty array of `size` matrices."""
    return tf.TensorArray(tf.float32, size, element_shape=(None, None))


def block_arguments(inputs: Any, cell: Cell, options: LayerOptions) -> dict[str, Any]:
    """Arguments that `BlockLSTM` and `BlockLSTMGrad` have in common."""
    before = state_before(options)
    return {
        "seq_len_max": tf.cast(options.steps, tf.int64),
        "x": inputs,
        "cs_prev": before.state,
        "h_prev": before.output,
        "w": tf.concat([cell.kernel, cell.recurrent_kernel], 0),
        **dict.fromkeys(("wci", "wcf", "wco"), tf.zeros((options.units,))),
        "b": cell.bias,
        "use_peephole": False,
    }
