"""The arithmetic of `keras.layers.LSTM` on a CPU, in fewer and larger operations of TensorFlow.

Results and gradients are those of Keras's layer, up to the order in which numbers are added. What
is gained comes from three things. The forward pass is one kernel over all time steps, or has only
the recurrent product in its loop. So has the backward pass, since the gradients of kernels, bias
and inputs are sums over time steps and so one product after it (Appleyard et al., arXiv
1604.01946). And an input that is one symbol takes a row of the kernel instead of a product with
mostly zeros.

Gradients are composed here and not by TensorFlow, which neither knows what is left out when only
the last step counts nor shares what two directions have in common.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import tensorflow as tf


class Cell(NamedTuple):
    """Weights of a layer, or their gradients.

    Gates stand in the order of `BlockLSTM` and `LSTMBlockCellGrad`: input, candidate, forget,
    output. Keras and `BlockLSTMV2` have the forget gate before the candidate.
    """

    #: `[features, 4 units]`
    kernel: Any
    #: `[units, 4 units]`
    recurrent_kernel: Any
    #: `[4 units]`
    bias: Any


#: from the gradient of a layer's outputs to those of its inputs, None if they are symbols, and of
#: its weights
Backward = Callable[[Any], tuple[Any, Cell]]


class Layout(NamedTuple):
    """How layers are computed, and over how much; sizes are numbers or tensors with one number.

    What is no size is part of the graph, which then serves layers of all sizes.
    """

    #: time steps, sequences side by side, and units of a layer
    steps: Any
    batch: Any
    units: Any
    #: time steps in one turn of a loop, a divisor of `steps`
    turns: int = 1
    #: whether time steps are read from the last to the first
    reverse: bool = False
    #: whether there is an output of the step that is read last alone, `[batch, units]`
    last: bool = False
    #: whether TensorFlow's own backward kernel is used, which spends nothing between two time steps
    #: but adds up the kernels' gradients in each
    fused: bool = False
    #: whether factors of matrix products are rounded to bfloat16, when trained; states, gates and
    #: weights stay as they are
    reduced: bool = False


class Symbols:
    """Symbols `<int32>[time, batch]` as inputs: they stand for their one-hot vectors."""

    def __init__(self, symbols: Any, alphabet_size: Any) -> None:
        self.codes, self.alphabet_size = symbols, alphabet_size

    @cached_property
    def _sorted(self) -> tuple[Any, Any]:
        """Places in order of their symbols, and those; for one graph, in which all sums are."""
        flat = tf.reshape(self.codes, (-1,))
        places = tf.argsort(flat, stable=True)
        return places, tf.gather(flat, places)

    def one_hot(self) -> Any:
        """`[time, batch, alphabet]`."""
        return tf.one_hot(self.codes, self.alphabet_size)

    def reversed(self) -> Symbols:
        """The last time step first."""
        return Symbols(_reversed(self.codes), self.alphabet_size)

    def sums(self, rows: Any) -> Any:
        """Sums of rows `[time * batch, any]` over the places of each symbol, `[alphabet, any]`."""
        places, symbols = self._sorted
        return tf.raw_ops.SparseSegmentSumWithNumSegments(
            data=rows, indices=places, segment_ids=symbols, num_segments=self.alphabet_size
        )


def lstm(inputs: Any, cell: Cell, layout: Layout) -> tuple[Any, Backward]:
    """Outputs of a layer from zero states, and the way back, as `jax.vjp` gives them.

    `inputs` is `[time, batch, features]`, or `Symbols`. There is an output of each time step,
    `[time, batch, units]`, at the step's place, if not `layout.last`.
    """
    if layout.reduced:
        return _by_step(inputs, cell, layout)
    symbols = isinstance(inputs, Symbols)
    if symbols and not layout.fused:
        return _by_step(inputs, cell, layout)
    if layout.reverse:
        inputs = inputs.reversed() if symbols else _reversed(inputs)
    given = inputs.one_hot() if symbols else inputs
    outputs, backward = _by_block(given, cell, layout._replace(reverse=False))

    def back(gradient: Any) -> tuple[Any, Cell]:
        if layout.reverse and not layout.last:
            gradient = _reversed(gradient)
        of_inputs, of_cell = backward(gradient)
        if symbols:
            return None, of_cell
        return _reversed(of_inputs) if layout.reverse else of_inputs, of_cell

    return _reversed(outputs) if layout.reverse and not layout.last else outputs, back


def _by_block(inputs: Any, cell: Cell, layout: Layout) -> tuple[Any, Backward]:
    """A forward pass in one kernel of TensorFlow."""
    block = tf.raw_ops.BlockLSTM(**_arguments(inputs, cell, layout), forget_bias=0.0, cell_clip=0.0)

    def back(gradient: Any) -> tuple[Any, Cell]:
        if layout.fused:
            return _fused_gradients(block, inputs, cell, layout, gradient)
        states = tf.concat([_nothing(layout)[None], block.cs], 0)
        done = _Done(block.i, block.ci, block.f, block.o, block.co, states, block.h)
        return _gradients(done, inputs, cell, layout, gradient)

    return block.h[-1] if layout.last else block.h, back


def _by_step(inputs: Any, cell: Cell, layout: Layout) -> tuple[Any, Backward]:
    """A forward pass in a loop of our own."""
    if isinstance(inputs, Symbols):
        rows = cell.kernel + cell.bias
        done = _forward(lambda at: tf.gather(rows, at.of(inputs.codes)), cell, layout)
    else:
        products = _product(_rows(inputs, cell), cell.kernel, layout.reduced) + cell.bias
        products = tf.reshape(products, (layout.steps, layout.batch, -1))
        done = _forward(lambda at: at.of(products), cell, layout)

    def back(gradient: Any) -> tuple[Any, Cell]:
        return _gradients(done, inputs, cell, layout, gradient)

    if layout.last:
        return done.h[0] if layout.reverse else done.h[-1], back
    return done.h, back


def outputs(inputs: Any, cell: Cell, layout: Layout) -> Any:
    """As `lstm`, without a way back.

    Nothing is kept of a step but its output, so what it computes with stays in the cache.
    """
    rows = cell.kernel + cell.bias
    joined = tf.concat([cell.kernel, cell.recurrent_kernel], 0)

    def arguments(at: _Step, output: Any) -> Any:
        if isinstance(inputs, Symbols):
            return tf.gather(rows, at.of(inputs.codes)) + tf.matmul(output, cell.recurrent_kernel)
        return tf.matmul(tf.concat([at.of(inputs), output], 1), joined) + cell.bias

    def turn(step: Any, output: Any, state: Any, found: Any) -> tuple[Any, ...]:
        for _ in range(layout.turns):
            place = _place(step, layout)
            *_, state, output = _cell(arguments(_Step(place), output), state)
            if not layout.last:
                found = found.write(place, output)
            step += 1
        return step, output, state, found

    nothing, found = _nothing(layout), _array(0 if layout.last else layout.steps)
    start = (tf.constant(0), nothing, nothing, found)
    _, output, _, found = tf.while_loop(
        lambda step, *_: step < layout.steps, turn, start, parallel_iterations=1
    )
    return output if layout.last else found.stack()


def _place(step: Any, layout: Layout) -> Any:
    """Where the time step stands that is read so late."""
    return layout.steps - 1 - step if layout.reverse else step


class _Step:
    """A time step; what belongs to it is cut from tensors of all steps without a copy."""

    def __init__(self, number: Any) -> None:
        self._number, self._begin = number, tf.reshape(number, (1,))
        self._stride = tf.ones_like(self._begin)
        self._end = self._begin + self._stride

    def of(self, array: Any) -> Any:
        """Part of a tensor `[time, ...]`, or of an array whose steps are kept apart."""
        if isinstance(array, tf.TensorArray):
            return array.read(self._number)
        place = {"begin": self._begin, "end": self._end, "strides": self._stride}
        return tf.raw_ops.StridedSlice(input=array, **place, shrink_axis_mask=1)


class _Done(NamedTuple):
    """A forward pass: at each time step `[batch, units]` of everything.

    Tensors `[time, batch, units]`, or arrays of tensors, since to join those takes a copy. Steps
    stand in the order in which they were read, but for outputs, which stand in their places.
    """

    #: input gate, candidate, forget gate, output gate
    i: Any
    ci: Any
    f: Any
    o: Any
    #: tanh of the state after each step
    co: Any
    #: states, of which the first is the one before the first step
    cs: Any
    #: outputs, one tensor `[time, batch, units]`
    h: Any


def _fused_gradients(
    block: Any, inputs: Any, cell: Cell, layout: Layout, gradient: Any
) -> tuple[Any, Cell]:
    if layout.last:
        gradient = tf.pad(gradient[None], ((layout.steps - 1, 0), (0, 0), (0, 0)))
    found = tf.raw_ops.BlockLSTMGrad(
        **_arguments(inputs, cell, layout),
        **block._asdict(),
        cs_grad=tf.zeros_like(gradient),
        h_grad=gradient,
    )
    features = tf.shape(cell.kernel)[0]
    of_kernel, of_recurrent_kernel = tf.split(found.w_grad, (features, layout.units))
    return found.x_grad, Cell(of_kernel, of_recurrent_kernel, found.b_grad)


def _arguments(inputs: Any, cell: Cell, layout: Layout) -> dict[str, Any]:
    """What TensorFlow's kernels of both passes take."""
    return {
        "seq_len_max": tf.cast(layout.steps, tf.int64),
        "x": inputs,
        **dict.fromkeys(("cs_prev", "h_prev"), _nothing(layout)),
        "w": tf.concat([cell.kernel, cell.recurrent_kernel], 0),
        **dict.fromkeys(("wci", "wcf", "wco"), tf.zeros((layout.units,))),
        "b": cell.bias,
        "use_peephole": False,
    }


def _forward(products: Callable[[_Step], Any], cell: Cell, layout: Layout) -> _Done:
    """A forward pass from the products of a step's inputs with the kernel, `[batch, 4 units]`."""
    factor = _factor(cell.recurrent_kernel, layout.reduced)

    def turn(step: Any, output: Any, state: Any, *arrays: Any) -> tuple[Any, ...]:
        *gates, states, outputs = arrays
        for _ in range(layout.turns):
            place = _place(step, layout)
            arguments = products(_Step(place)) + _product(output, factor, layout.reduced)
            *new, state, output = _cell(arguments, state)
            gates = [array.write(step, gate) for array, gate in zip(gates, new, strict=True)]
            outputs = outputs.write(place, output)
            step += 1
            states = states.write(step, state)
        return step, output, state, *gates, states, outputs

    nothing = _nothing(layout)
    gates = [_array(layout.steps) for _ in range(5)]
    states = _array(layout.steps + 1).write(0, nothing)
    start = (tf.constant(0), nothing, nothing, *gates, states, _array(layout.steps))
    loop = tf.while_loop(lambda step, *_: step < layout.steps, turn, start, parallel_iterations=1)
    i, ci, f, o, co, cs, h = loop[3:]
    return _Done(i, ci, f, o, co, cs, h.stack())


def _array(size: Any) -> Any:
    return tf.TensorArray(tf.float32, size, element_shape=(None, None))


def _cell(arguments: Any, state: Any) -> tuple[Any, ...]:
    """A step from the gates' arguments `[batch, 4 units]`: i, ci, f, o, co, state and output."""
    i, ci, f, o = tf.split(arguments, 4, axis=1)
    i, ci, f, o = tf.sigmoid(i), tf.tanh(ci), tf.sigmoid(f), tf.sigmoid(o)
    state = f * state + i * ci
    co = tf.tanh(state)
    return i, ci, f, o, co, state, o * co


def _gradients(
    done: _Done, inputs: Any, cell: Cell, layout: Layout, gradient: Any
) -> tuple[Any, Cell]:
    """Gradients of inputs and weights from those of the outputs."""
    rows = _gradients_of_gates(done, cell, layout, gradient)
    of_recurrent_kernel = _product(
        tf.reshape(done.h[1:] if layout.reverse else done.h[:-1], (-1, layout.units)),
        rows[: -layout.batch] if layout.reverse else rows[layout.batch :],
        layout.reduced,
        transpose_a=True,
    )
    if isinstance(inputs, Symbols):
        of_kernel = inputs.sums(rows)
        # each row is the gradient of one symbol's products and of the bias's
        return None, Cell(of_kernel, of_recurrent_kernel, sum_of_rows(of_kernel))
    of_kernel = _product(_rows(inputs, cell), rows, layout.reduced, transpose_a=True)
    of_inputs = _product(rows, cell.kernel, layout.reduced, transpose_b=True)
    of_inputs = tf.reshape(of_inputs, tf.shape(inputs))
    return of_inputs, Cell(of_kernel, of_recurrent_kernel, sum_of_rows(rows))


def _rows(inputs: Any, cell: Cell) -> Any:
    """Inputs of all time steps below each other, `[time * batch, features]`."""
    return tf.reshape(inputs, (-1, tf.shape(cell.kernel)[0]))


def _gradients_of_gates(done: _Done, weights: Cell, layout: Layout, gradient: Any) -> Any:
    """Gradients of the gates' arguments, `[time * batch, 4 units]`, each step in its place."""
    nothing = _nothing(layout)
    # of these the kernel sees only whether their shapes fit
    unused = {
        "x": tf.zeros((layout.batch, 0)),
        "h_prev": nothing,
        "w": weights.recurrent_kernel,
        "b": weights.bias,
        **dict.fromkeys(("wci", "wcf", "wco"), tf.zeros((layout.units,))),
    }
    turned = _factor(tf.transpose(weights.recurrent_kernel), layout.reduced)

    def cell(at: _Step, after: Any, before: Any, of_output: Any, of_state: Any) -> Any:
        return tf.raw_ops.LSTMBlockCellGrad(
            **unused,
            cs_prev=before,
            i=at.of(done.i),
            cs=after,
            f=at.of(done.f),
            o=at.of(done.o),
            ci=at.of(done.ci),
            co=at.of(done.co),
            cs_grad=of_state,
            h_grad=of_output,
            use_peephole=False,
        )

    def turn(step: Any, state: Any, of_output: Any, of_state: Any, found: Any) -> tuple[Any, ...]:
        for _ in range(layout.turns):
            at, place = _Step(step), _place(step, layout)
            before = at.of(done.cs)
            if not layout.last:
                of_output += (_Step(place) if layout.reverse else at).of(gradient)
            one = cell(at, state, before, of_output, of_state)
            of_output = _product(one.dicfo, turned, layout.reduced)
            of_state = one.cs_prev_grad
            found, state = found.write(place, one.dicfo), before
            step -= 1
        return step, state, of_output, of_state, found

    step = layout.steps - 1
    state, of_output = _Step(step + 1).of(done.cs), gradient if layout.last else nothing
    start = (step, state, of_output, nothing, _array(layout.steps))
    *_, found = tf.while_loop(lambda step, *_: step >= 0, turn, start, parallel_iterations=1)
    return tf.reshape(found.stack(), (-1, 4 * layout.units))


def _factor(matrix: Any, reduced: bool) -> Any:
    """A matrix as `_product` takes it, rounded once if it is used in many products."""
    return tf.cast(matrix, tf.bfloat16) if reduced else matrix


def _product(left: Any, right: Any, reduced: bool, **transposed: bool) -> Any:
    product = tf.matmul(_factor(left, reduced), _factor(right, reduced), **transposed)
    return tf.cast(product, tf.float32) if reduced else product


def sum_of_rows(rows: Any) -> Any:
    """As `tf.reduce_sum(rows, 0)`, five times faster."""
    return tf.reshape(tf.matmul(tf.ones((1, tf.shape(rows)[0])), rows), (-1,))


def _reversed(steps: Any) -> Any:
    """As `tf.reverse(steps, [0])`, which copies number by number."""
    return tf.gather(steps, tf.range(tf.shape(steps)[0] - 1, -1, -1))


def _nothing(layout: Layout) -> Any:
    """States and outputs before the first step, `[batch, units]`."""
    return tf.zeros((layout.batch, layout.units))
