"""The arithmetic of `keras.layers.LSTM` on a CPU, in fewer and larger operations of TensorFlow.

Weights, gates and results are those of Keras's layer, up to the order in which numbers are added.
What is gained comes from three things. The forward pass is one kernel over all time steps, or has
only the recurrent product in its loop. So has the backward pass, since the gradients of kernels,
bias and inputs are sums over time steps and so one product after it (Appleyard et al., arXiv
1604.01946). And an input that is one symbol takes a row of the kernel instead of a product with
mostly zeros.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf


class Cell(NamedTuple):
    """Weights of a layer of Keras, with gates in the order input, forget, candidate, output."""

    #: `[features, 4 units]`
    kernel: Any
    #: `[units, 4 units]`
    recurrent_kernel: Any
    #: `[4 units]`
    bias: Any


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
    #: whether TensorFlow's own backward kernel is used, which spends nothing between two time steps
    #: but adds up the kernels' gradients in each
    fused: bool = False
    #: whether factors of matrix products are rounded to bfloat16, when trained; states, gates and
    #: weights stay as they are
    reduced: bool = False


def lstm(inputs: Any, cell: Cell, layout: Layout) -> Any:
    """Outputs of a layer at each time step, `[time, batch, units]`, from zero states.

    `inputs` is `[time, batch, features]`.
    """
    if layout.reduced:
        return _reduced(inputs, cell, layout)

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def layer(inputs: Any, *weights: Any) -> Any:
        cell = Cell(*weights)
        block = _block(inputs, cell, layout)

        def gradients(gradient: Any) -> Any:
            if layout.fused:
                return _fused_gradients(block, inputs, cell, layout, gradient)
            states = tf.concat([_nothing(layout)[None], block.cs], 0)
            done = _Done(block.i, block.f, block.ci, block.o, block.co, states, block.h)
            return _gradients(done, inputs, cell, layout, gradient)

        return block.h, gradients

    return layer(inputs, *cell)


def _reduced(inputs: Any, cell: Cell, layout: Layout) -> Any:
    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def layer(inputs: Any, *weights: Any) -> Any:
        cell = Cell(*weights)
        products = _product(_rows(inputs, cell), cell.kernel, reduced=True) + cell.bias
        products = tf.reshape(products, (layout.steps, layout.batch, -1))
        done = _forward_by_step(products, cell, layout)

        return done.h, lambda gradient: _gradients(done, inputs, cell, layout, gradient)

    return layer(inputs, *cell)


def lstm_of_symbols(symbols: Any, cell: Cell, layout: Layout) -> Any:
    """As `lstm` of the one-hot vectors of `symbols`, `<int32>[time, batch]`."""
    alphabet_size = tf.shape(cell.kernel)[0]
    if layout.fused and not layout.reduced:
        return lstm(tf.one_hot(symbols, alphabet_size), cell, layout)

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def layer(*weights: Any) -> Any:
        cell = Cell(*weights)
        products = tf.gather(cell.kernel + cell.bias, symbols)
        done = _forward_by_step(products, cell, layout)

        def gradients(gradient: Any) -> Any:
            rows = _gradients_of_gates(done, cell, layout, gradient)
            of_kernel = tf.math.unsorted_segment_sum(
                rows, tf.reshape(symbols, (-1,)), alphabet_size
            )
            return _swapped(of_kernel), *_gradients_of_cell(done, rows, layout)

        return done.h, gradients

    return layer(*cell)


def outputs(inputs: Any, cell: Cell, layout: Layout, *, every_step: bool = True) -> Any:
    """As `lstm`, or as `lstm_of_symbols`, without gradients; of every step or of the last alone.

    Nothing is kept of a step but its output, so what it computes with stays in the cache.
    """
    symbols = inputs.dtype == tf.int32
    rows = cell.kernel + cell.bias
    joined = tf.concat([cell.kernel, cell.recurrent_kernel], 0)

    def arguments(part: Any, output: Any) -> Any:
        if symbols:
            return tf.gather(rows, part) + tf.matmul(output, cell.recurrent_kernel)
        return tf.matmul(tf.concat([part, output], 1), joined) + cell.bias

    def turn(step: Any, output: Any, state: Any, found: Any) -> tuple[Any, ...]:
        for _ in range(layout.turns):
            *_, state, output = _cell(arguments(_Step(step).of(inputs), output), state)
            if every_step:
                found = found.write(step, output)
            step += 1
        return step, output, state, found

    nothing, found = _nothing(layout), _array(layout.steps if every_step else 0)
    start = (tf.constant(0), nothing, nothing, found)
    _, output, _, found = tf.while_loop(
        lambda step, *_: step < layout.steps, turn, start, parallel_iterations=1
    )
    return found.stack() if every_step else output[None]


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

    Tensors `[time, batch, units]`, or arrays of tensors, since to join those takes a copy.
    """

    #: input gate, forget gate, candidate, output gate
    i: Any
    f: Any
    ci: Any
    o: Any
    #: tanh of the state after each step
    co: Any
    #: states, of which the first is the one before the first step
    cs: Any
    #: outputs, one tensor `[time, batch, units]`
    h: Any


def _block(inputs: Any, cell: Cell, layout: Layout) -> Any:
    """TensorFlow's kernel of a forward pass, with all that its gradient kernel needs."""
    return tf.raw_ops.BlockLSTMV2(**_arguments(inputs, cell, layout), cell_clip=0.0)


def _fused_gradients(
    block: Any, inputs: Any, cell: Cell, layout: Layout, gradient: Any
) -> tuple[Any, Any, Any, Any]:
    found = tf.raw_ops.BlockLSTMGradV2(
        **_arguments(inputs, cell, layout),
        **block._asdict(),
        cs_grad=tf.zeros_like(gradient),
        h_grad=gradient,
    )
    of_kernels = tf.split(found.w_grad, (tf.shape(cell.kernel)[0], layout.units))
    return found.x_grad, *of_kernels, found.b_grad


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


def _forward_by_step(products: Any, cell: Cell, layout: Layout) -> _Done:
    """A forward pass from the products of inputs and kernel, `[time, batch, 4 units]`."""
    factor = _factor(cell.recurrent_kernel, layout.reduced)

    def turn(step: Any, output: Any, state: Any, *arrays: Any) -> tuple[Any, ...]:
        *gates, states, outputs = arrays
        for _ in range(layout.turns):
            arguments = _Step(step).of(products) + _product(output, factor, layout.reduced)
            *new, state, output = _cell(arguments, state)
            gates = [array.write(step, gate) for array, gate in zip(gates, new, strict=True)]
            outputs = outputs.write(step, output)
            step += 1
            states = states.write(step, state)
        return step, output, state, *gates, states, outputs

    nothing = _nothing(layout)
    gates = [_array(layout.steps) for _ in range(5)]
    states = _array(layout.steps + 1).write(0, nothing)
    start = (tf.constant(0), nothing, nothing, *gates, states, _array(layout.steps))
    loop = tf.while_loop(lambda step, *_: step < layout.steps, turn, start, parallel_iterations=1)
    i, f, ci, o, co, cs, h = loop[3:]
    return _Done(i, f, ci, o, co, cs, h.stack())


def _array(size: Any) -> Any:
    return tf.TensorArray(tf.float32, size, element_shape=(None, None))


def _cell(arguments: Any, state: Any) -> tuple[Any, ...]:
    """A step from the gates' arguments `[batch, 4 units]`: i, f, ci, o, co, state and output."""
    i, f, ci, o = tf.split(arguments, 4, axis=1)
    i, f, ci, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(ci), tf.sigmoid(o)
    state = f * state + i * ci
    co = tf.tanh(state)
    return i, f, ci, o, co, state, o * co


def _gradients(
    done: _Done, inputs: Any, cell: Cell, layout: Layout, gradient: Any
) -> tuple[Any, ...]:
    """Gradients of inputs and weights from those of the outputs."""
    rows = _gradients_of_gates(done, cell, layout, gradient)
    of_kernel = _product(_rows(inputs, cell), rows, layout.reduced, transpose_a=True)
    of_inputs = _product(rows, _swapped(cell.kernel), layout.reduced, transpose_b=True)
    return (
        tf.reshape(of_inputs, tf.shape(inputs)),
        _swapped(of_kernel),
        *_gradients_of_cell(done, rows, layout),
    )


def _rows(inputs: Any, cell: Cell) -> Any:
    """Inputs of all time steps below each other, `[time * batch, features]`."""
    return tf.reshape(inputs, (-1, tf.shape(cell.kernel)[0]))


def _gradients_of_gates(done: _Done, weights: Cell, layout: Layout, gradient: Any) -> Any:
    """Gradients of the gates' arguments, `[time * batch, 4 units]`, in the order of `_swapped`."""
    nothing = _nothing(layout)
    # of these the kernel sees only whether their shapes fit
    unused = {
        "x": tf.zeros((layout.batch, 0)),
        "h_prev": nothing,
        "w": weights.recurrent_kernel,
        "b": weights.bias,
        **dict.fromkeys(("wci", "wcf", "wco"), tf.zeros((layout.units,))),
    }
    turned = _factor(tf.transpose(_swapped(weights.recurrent_kernel)), layout.reduced)

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
            at = _Step(step)
            before = at.of(done.cs)
            one = cell(at, state, before, of_output + at.of(gradient), of_state)
            of_output = _product(one.dicfo, turned, layout.reduced)
            of_state = one.cs_prev_grad
            found, state = found.write(step, one.dicfo), before
            step -= 1
        return step, state, of_output, of_state, found

    last = layout.steps - 1
    start = (last, _Step(last + 1).of(done.cs), nothing, nothing, _array(layout.steps))
    *_, found = tf.while_loop(lambda step, *_: step >= 0, turn, start, parallel_iterations=1)
    return tf.reshape(found.stack(), (-1, 4 * layout.units))


def _gradients_of_cell(done: _Done, rows: Any, layout: Layout) -> tuple[Any, Any]:
    """Gradients of recurrent kernel and bias from those of the gates' arguments."""
    before = tf.reshape(done.h[:-1], (-1, layout.units))
    of_recurrent_kernel = _product(before, rows[layout.batch :], layout.reduced, transpose_a=True)
    return _swapped(of_recurrent_kernel), _swapped(_sum_of_rows(rows))


def _factor(matrix: Any, reduced: bool) -> Any:
    """A matrix as `_product` takes it, rounded once if it is used in many products."""
    return tf.cast(matrix, tf.bfloat16) if reduced else matrix


def _product(left: Any, right: Any, reduced: bool, **transposed: bool) -> Any:
    product = tf.matmul(_factor(left, reduced), _factor(right, reduced), **transposed)
    return tf.cast(product, tf.float32) if reduced else product


def _sum_of_rows(rows: Any) -> Any:
    """As `tf.reduce_sum(rows, 0)`, five times faster."""
    return tf.reshape(tf.matmul(tf.ones((1, tf.shape(rows)[0])), rows), (-1,))


def _swapped(gates: Any) -> Any:
    """With forget gate and candidate, the second and third quarter of the last axis, exchanged."""
    first, second, third, fourth = tf.split(gates, 4, axis=-1)
    return tf.concat([first, third, second, fourth], -1)


def _nothing(layout: Layout) -> Any:
    """States and outputs before the first step, `[batch, units]`."""
    return tf.zeros((layout.batch, layout.units))
