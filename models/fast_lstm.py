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

import numpy as np
import tensorflow as tf

#: layers of at most so many units are faster in TensorFlow's own backward kernel, which spends
#: nothing between two time steps but adds up the kernels' gradients in each
FUSED_UNITS = 48
#: units of a layer of symbols up to which it is faster so too, in spite of the products with its
#: kernel, if no more symbols come to each unit
SYMBOLS_FUSED_UNITS, ALPHABET_PER_UNIT = 32, 4
#: time steps in one turn of a loop: the first of these that divides their number
TURNS = (2, 1)


def lstm(
    inputs: Any, kernel: Any, recurrent_kernel: Any, bias: Any, *, reduced: bool = False
) -> Any:
    """Outputs of a layer at each time step, `[time, batch, units]`, from zero states.

    `inputs` is `[time, batch, features]`; the weights are those of a cell of Keras, with gates in
    the order input, forget, candidate, output. `reduced` rounds the factors of matrix products to
    bfloat16; states, gates and weights stay as they are.
    """
    if reduced:
        return _reduced(inputs, kernel, recurrent_kernel, bias)

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def layer(inputs: Any, kernel: Any, recurrent_kernel: Any, bias: Any) -> Any:
        block = _block(inputs, kernel, recurrent_kernel, bias)

        def gradients(gradient: Any) -> Any:
            if recurrent_kernel.shape[0] <= FUSED_UNITS:
                return _fused_gradients(block, inputs, kernel, recurrent_kernel, bias, gradient)
            before, _ = _nothing(inputs, recurrent_kernel)
            states = tf.concat([before[None], block.cs], 0)
            done = _Pass(block.i, block.f, block.ci, block.o, block.co, states, block.h)
            rows = _gradients_of_gates(done, recurrent_kernel, gradient)
            columns = tf.reshape(inputs, (-1, kernel.shape[0]))
            of_kernel = tf.matmul(columns, rows, transpose_a=True)
            of_inputs = tf.matmul(rows, _swapped(kernel), transpose_b=True)
            return (
                tf.reshape(of_inputs, tf.shape(inputs)),
                _swapped(of_kernel),
                *_gradients_of_cell(done, rows),
            )

        return block.h, gradients

    return layer(inputs, kernel, recurrent_kernel, bias)


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _reduced(inputs: Any, kernel: Any, recurrent_kernel: Any, bias: Any) -> Any:
    flat = tf.reshape(inputs, (-1, kernel.shape[0]))
    products = _product(flat, kernel, reduced=True) + bias
    shape = (*inputs.shape[:2], bias.shape[0])
    done = _forward_by_step(tf.reshape(products, shape), recurrent_kernel, reduced=True)

    def gradients(gradient: Any) -> Any:
        rows = _gradients_of_gates(done, recurrent_kernel, gradient, reduced=True)
        of_kernel = _product(flat, rows, reduced=True, transpose_a=True)
        of_inputs = _product(rows, _swapped(kernel), reduced=True, transpose_b=True)
        return (
            tf.reshape(of_inputs, tf.shape(inputs)),
            _swapped(of_kernel),
            *_gradients_of_cell(done, rows, reduced=True),
        )

    return done.h, gradients


def lstm_of_symbols(
    symbols: Any, kernel: Any, recurrent_kernel: Any, bias: Any, *, reduced: bool = False
) -> Any:
    """As `lstm` of the one-hot vectors of `symbols`, `<int32>[time, batch]`."""
    alphabet_size, units = kernel.shape[0], recurrent_kernel.shape[0]
    fused = units <= SYMBOLS_FUSED_UNITS and alphabet_size <= ALPHABET_PER_UNIT * units
    if fused and not reduced:
        return lstm(tf.one_hot(symbols, alphabet_size), kernel, recurrent_kernel, bias)

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def layer(kernel: Any, recurrent_kernel: Any, bias: Any) -> Any:
        products = tf.gather(kernel + bias, symbols)
        done = _forward_by_step(products, recurrent_kernel, reduced)

        def gradients(gradient: Any) -> Any:
            rows = _gradients_of_gates(done, recurrent_kernel, gradient, reduced)
            of_kernel = tf.math.unsorted_segment_sum(
                rows, tf.reshape(symbols, (-1,)), alphabet_size
            )
            return _swapped(of_kernel), *_gradients_of_cell(done, rows, reduced)

        return done.h, gradients

    return layer(kernel, recurrent_kernel, bias)


def outputs(
    inputs: Any, kernel: Any, recurrent_kernel: Any, bias: Any, *, every_step: bool = True
) -> Any:
    """As `lstm`, or as `lstm_of_symbols`, without gradients; of every step or of the last alone.

    Nothing is kept of a step but its output, so what it computes with stays in the cache.
    """
    steps, batch = inputs.shape[:2]
    units = recurrent_kernel.shape[0]
    symbols = inputs.dtype == tf.int32
    rows, joined = kernel + bias, tf.concat([kernel, recurrent_kernel], 0)

    def arguments(part: Any, output: Any) -> Any:
        if symbols:
            return tf.gather(rows, part) + tf.matmul(output, recurrent_kernel)
        return tf.matmul(tf.concat([part, output], 1), joined) + bias

    def turn(step: Any, output: Any, state: Any, found: Any) -> tuple[Any, ...]:
        for _ in range(_turns(steps)):
            *_, state, output = _cell(arguments(_Step(step).of(inputs), output), state)
            if every_step:
                found = found.write(step, output)
            step += 1
        return step, output, state, found

    nothing = tf.zeros((batch, units))
    found = tf.TensorArray(tf.float32, steps if every_step else 0, element_shape=(batch, units))
    start = (tf.constant(0), nothing, nothing, found)
    _, output, _, found = tf.while_loop(
        lambda step, *_: step < steps, turn, start, parallel_iterations=1
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


class _Pass(NamedTuple):
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


def _block(inputs: Any, kernel: Any, recurrent_kernel: Any, bias: Any) -> Any:
    """TensorFlow's kernel of a forward pass, with all that its gradient kernel needs."""
    return tf.raw_ops.BlockLSTMV2(
        **_arguments(inputs, kernel, recurrent_kernel, bias), cell_clip=0.0
    )


def _fused_gradients(
    block: Any, inputs: Any, kernel: Any, recurrent_kernel: Any, bias: Any, gradient: Any
) -> tuple[Any, Any, Any, Any]:
    found = tf.raw_ops.BlockLSTMGradV2(
        **_arguments(inputs, kernel, recurrent_kernel, bias),
        **block._asdict(),
        cs_grad=tf.zeros_like(gradient),
        h_grad=gradient,
    )
    of_kernels = tf.split(found.w_grad, [kernel.shape[0], recurrent_kernel.shape[0]])
    return found.x_grad, *of_kernels, found.b_grad


def _arguments(inputs: Any, kernel: Any, recurrent_kernel: Any, bias: Any) -> dict[str, Any]:
    """What TensorFlow's kernels of both passes take."""
    state, peephole = _nothing(inputs, recurrent_kernel)
    return {
        "seq_len_max": tf.cast(tf.shape(inputs)[0], tf.int64),
        "x": inputs,
        **dict.fromkeys(("cs_prev", "h_prev"), state),
        "w": tf.concat([kernel, recurrent_kernel], 0),
        **dict.fromkeys(("wci", "wcf", "wco"), peephole),
        "b": bias,
        "use_peephole": False,
    }


def _forward_by_step(products: Any, recurrent_kernel: Any, reduced: bool) -> _Pass:
    """A forward pass from the products of inputs and kernel, `[time, batch, 4 units]`."""
    steps, batch, _ = products.shape
    units = recurrent_kernel.shape[0]
    factor = _factor(recurrent_kernel, reduced)

    def turn(step: Any, output: Any, state: Any, *arrays: Any) -> tuple[Any, ...]:
        *gates, states, outputs = arrays
        for _ in range(_turns(steps)):
            arguments = _Step(step).of(products) + _product(output, factor, reduced)
            *new, state, output = _cell(arguments, state)
            gates = [array.write(step, gate) for array, gate in zip(gates, new, strict=True)]
            outputs = outputs.write(step, output)
            step += 1
            states = states.write(step, state)
        return step, output, state, *gates, states, outputs

    def array(size: int) -> Any:
        return tf.TensorArray(products.dtype, size, element_shape=(batch, units))

    nothing = tf.zeros((batch, units), products.dtype)
    gates, states = [array(steps) for _ in range(5)], array(steps + 1).write(0, nothing)
    start = (tf.constant(0), nothing, nothing, *gates, states, array(steps))
    loop = tf.while_loop(lambda step, *_: step < steps, turn, start, parallel_iterations=1)
    i, f, ci, o, co, cs, h = loop[3:]
    return _Pass(i, f, ci, o, co, cs, h.stack())


def _turns(steps: int) -> int:
    """Time steps in one turn of a loop over so many."""
    return next(turns for turns in TURNS if steps % turns == 0)


def _cell(arguments: Any, state: Any) -> tuple[Any, ...]:
    """A step from the gates' arguments `[batch, 4 units]`: i, f, ci, o, co, state and output."""
    i, f, ci, o = tf.split(arguments, 4, axis=1)
    i, f, ci, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(ci), tf.sigmoid(o)
    state = f * state + i * ci
    co = tf.tanh(state)
    return i, f, ci, o, co, state, o * co


def _gradients_of_gates(
    done: _Pass, recurrent_kernel: Any, gradient: Any, reduced: bool = False
) -> Any:
    """Gradients of the gates' arguments, `[time * batch, 4 units]`, in the order of `_swapped`."""
    steps, batch, units = done.h.shape
    nothing = tf.zeros((batch, units), done.h.dtype)
    # of these the kernel sees only whether their shapes fit
    unused = {
        "x": np.zeros((batch, 0), np.float32),
        "h_prev": nothing,
        "w": recurrent_kernel,
        "b": np.zeros(4 * units, np.float32),
        **dict.fromkeys(("wci", "wcf", "wco"), tf.zeros(units)),
    }
    turned = _factor(tf.transpose(_swapped(recurrent_kernel)), reduced)

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
        for _ in range(_turns(steps)):
            at = _Step(step)
            before = at.of(done.cs)
            one = cell(at, state, before, of_output + at.of(gradient), of_state)
            of_output, of_state = _product(one.dicfo, turned, reduced), one.cs_prev_grad
            found, state = found.write(step, one.dicfo), before
            step -= 1
        return step, state, of_output, of_state, found

    found = tf.TensorArray(done.h.dtype, steps, element_shape=(batch, 4 * units))
    last = tf.constant(steps - 1)
    start = (last, _Step(last + 1).of(done.cs), nothing, nothing, found)
    *_, found = tf.while_loop(lambda step, *_: step >= 0, turn, start, parallel_iterations=1)
    return tf.reshape(found.stack(), (-1, 4 * units))


def _gradients_of_cell(done: _Pass, rows: Any, reduced: bool = False) -> tuple[Any, Any]:
    """Gradients of recurrent kernel and bias from those of the gates' arguments."""
    _, batch, units = done.h.shape
    before = tf.reshape(done.h[:-1], (-1, units))
    return (
        _swapped(_product(before, rows[batch:], reduced, transpose_a=True)),
        _swapped(_sum_of_rows(rows)),
    )


def _factor(matrix: Any, reduced: bool) -> Any:
    """A matrix as `_product` takes it, rounded once if it is used in many products."""
    return tf.cast(matrix, tf.bfloat16) if reduced else matrix


def _product(left: Any, right: Any, reduced: bool, **transposed: bool) -> Any:
    product = tf.matmul(_factor(left, reduced), _factor(right, reduced), **transposed)
    return tf.cast(product, tf.float32) if reduced else product


def _sum_of_rows(rows: Any) -> Any:
    """As `tf.reduce_sum(rows, 0)`, five times faster."""
    return tf.reshape(tf.matmul(tf.ones((1, rows.shape[0]), rows.dtype), rows), (-1,))


def _swapped(gates: Any) -> Any:
    """With forget gate and candidate, the second and third quarter of the last axis, exchanged."""
    first, second, third, fourth = tf.split(gates, 4, axis=-1)
    return tf.concat([first, third, second, fourth], -1)


def _nothing(inputs: Any, recurrent_kernel: Any) -> tuple[Any, Any]:
    """Zeros for a state, `[batch, units]`, and for peephole weights that are not used."""
    units = recurrent_kernel.shape[0]
    return tf.zeros((inputs.shape[1], units), inputs.dtype), tf.zeros(units, inputs.dtype)
