"""The arithmetic of `keras.layers.LSTM` on a CPU, in fewer and larger TensorFlow operations.

Results and gradients are those of Keras's layer, up to the order of summation. It is faster for
three reasons. The forward pass is one kernel over all time steps, or has only the recurrent product
in its loop. So has the backward pass: gradients of kernels, bias and inputs are one matrix product
over all time steps each (Appleyard et al., arXiv 1604.01946). An input that is one symbol selects a
row of the kernel, in place of a product with a one-hot vector.

Gradients are written out here, since TensorFlow's own would neither skip what is not needed if only
the last step counts, nor share work between two directions.
"""

from __future__ import annotations

from collections.abc import Callable
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
        return tf.one_hot(self.codes, self.alphabet_size)

    def reversed(self) -> Symbols:
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
    return tf.reshape(inputs, (-1, tf.shape(cell.kernel)[0]))


def sum_of_rows(rows: Any) -> Any:
    """As `tf.reduce_sum(rows, 0)`, five times faster."""
    return tf.reshape(tf.matmul(tf.ones((1, tf.shape(rows)[0])), rows), (-1,))


def reversed_steps(steps: Any) -> Any:
    """As `tf.reverse(steps, [0])`, but copies whole steps and not single numbers."""
    return tf.gather(steps, tf.range(tf.shape(steps)[0] - 1, -1, -1))


def state_before(options: LayerOptions) -> State:
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


def gradients(
    forward: ForwardPass, inputs: Any, cell: Cell, options: LayerOptions, gradient: Any
) -> tuple[Any, Cell]:
    """Gradients of the inputs, None for `Symbols`, and of the weights.

    `gradient` is that of the outputs, `[time, batch, units]`, or `[batch, units]` with `last_only`.
    """
    rows = _gate_gradients(forward, cell, options, gradient)
    recurrent_kernel_gradient = product(
        tf.reshape(forward.h[1:] if options.reverse else forward.h[:-1], (-1, options.units)),
        rows[: -options.batch] if options.reverse else rows[options.batch :],
        options.reduced,
        transpose_a=True,
    )
    if options.before is not None:
        recurrent_kernel_gradient += product(
            options.before.output, rows[: options.batch], options.reduced, transpose_a=True
        )
    if isinstance(inputs, Symbols):
        kernel_gradient = inputs.sums(rows)
        # each row of `rows` is in one row of the kernel's gradient, so their sums are equal
        bias_gradient = sum_of_rows(kernel_gradient)
        return None, Cell(kernel_gradient, recurrent_kernel_gradient, bias_gradient)
    kernel_gradient = product(rows_of(inputs, cell), rows, options.reduced, transpose_a=True)
    input_gradient = product(rows, cell.kernel, options.reduced, transpose_b=True)
    input_gradient = tf.reshape(input_gradient, tf.shape(inputs))
    return input_gradient, Cell(kernel_gradient, recurrent_kernel_gradient, sum_of_rows(rows))


def fused_gradients(
    block: Any, inputs: Any, cell: Cell, options: LayerOptions, gradient: Any
) -> tuple[Any, Cell]:
    """As `gradients`, by TensorFlow's kernel; `block` has the outputs of `BlockLSTM`."""
    if options.last_only:
        gradient = tf.pad(gradient[None], ((options.steps - 1, 0), (0, 0), (0, 0)))
    found = tf.raw_ops.BlockLSTMGrad(
        **block_arguments(inputs, cell, options),
        **block._asdict(),
        cs_grad=tf.zeros_like(gradient),
        h_grad=gradient,
    )
    kernel, recurrent = tf.split(found.w_grad, (tf.shape(cell.kernel)[0], options.units))
    return found.x_grad, Cell(kernel, recurrent, found.b_grad)


def _gate_gradients(forward: ForwardPass, cell: Cell, options: LayerOptions, gradient: Any) -> Any:
    """Gradients of the gates' arguments, `[time * batch, 4 units]`, in the order of time."""
    zeros = tf.zeros((options.batch, options.units))
    unused = {  # of which the kernel checks only the shapes
        "x": tf.zeros((options.batch, 0)),
        "h_prev": zeros,
        "w": cell.recurrent_kernel,
        "b": cell.bias,
        **dict.fromkeys(("wci", "wcf", "wco"), tf.zeros((options.units,))),
    }
    transposed = factor(tf.transpose(cell.recurrent_kernel), options.reduced)

    def cell_gradient(
        at: TimeStep, after: Any, before: Any, output_gradient: Any, state_gradient: Any
    ) -> Any:
        gates = {name: at.of(getattr(forward, name)) for name in ("i", "f", "o", "ci", "co")}
        return tf.raw_ops.LSTMBlockCellGrad(
            **unused,
            **gates,
            cs_prev=before,
            cs=after,
            cs_grad=state_gradient,
            h_grad=output_gradient,
            use_peephole=False,
        )

    def body(
        step: Any, state: Any, output_gradient: Any, state_gradient: Any, written: Any
    ) -> tuple[Any, ...]:
        for _ in range(options.unroll):
            at, place = TimeStep(step), place_of(step, options)
            before = at.of(forward.cs)
            if not options.last_only:
                output_gradient += (TimeStep(place) if options.reverse else at).of(gradient)
            step_gradients = cell_gradient(at, state, before, output_gradient, state_gradient)
            output_gradient = product(step_gradients.dicfo, transposed, options.reduced)
            state_gradient = step_gradients.cs_prev_grad
            written, state = written.write(place, step_gradients.dicfo), before
            step -= 1
        return step, state, output_gradient, state_gradient, written

    step = options.steps - 1
    first = gradient if options.last_only else zeros
    start = step, TimeStep(step + 1).of(forward.cs), first, zeros, step_array(options.steps)
    *_, written = tf.while_loop(lambda step, *_: step >= 0, body, start, parallel_iterations=1)
    return tf.reshape(written.stack(), (-1, 4 * options.units))


#: gradient of a layer's outputs -> gradients of its inputs, None for `Symbols`, and of its weights
Backward = Callable[[Any], tuple[Any, Cell]]


def passed(inputs: Any, cell: Cell, options: LayerOptions) -> tuple[Any, Backward, State]:
    """Outputs of a layer, its backward pass, and its state after the step that is read last.

    With `options.lengths` that is the last step of each row. No gradient is given of the state
    before the first step, nor is one taken of that after the last. `inputs` is
    `[time, batch, features]`, or `Symbols`. Outputs are `[time, batch, units]`, in the order of
    time, or `[batch, units]` with `options.last_only`.
    """
    if options.reduced:
        return _lstm_by_step(inputs, cell, options)
    symbols = isinstance(inputs, Symbols)
    if symbols and not options.fused:
        return _lstm_by_step(inputs, cell, options)
    if options.reverse:
        inputs = inputs.reversed() if symbols else reversed_steps(inputs)
    vectors = inputs.one_hot() if symbols else inputs
    outputs, backward, after = _lstm_by_block(vectors, cell, options._replace(reverse=False))

    def back(gradient: Any) -> tuple[Any, Cell]:
        if options.reverse and not options.last_only:
            gradient = reversed_steps(gradient)
        input_gradient, cell_gradient = backward(gradient)
        if symbols:
            return None, cell_gradient
        if options.reverse:
            input_gradient = reversed_steps(input_gradient)
        return input_gradient, cell_gradient

    if options.reverse and not options.last_only:
        outputs = reversed_steps(outputs)
    return outputs, back, after


def outputs(inputs: Any, cell: Cell, options: LayerOptions) -> tuple[Any, State]:
    """Outputs as those of `passed`, without a backward pass, and the state after the last step.

    Nothing but the output of a step is kept, so that the working set stays in the cache.
    """
    rows = cell.kernel + cell.bias
    joined = tf.concat([cell.kernel, cell.recurrent_kernel], 0)

    def arguments(at: TimeStep, output: Any) -> Any:
        if isinstance(inputs, Symbols):
            return tf.gather(rows, at.of(inputs.codes)) + tf.matmul(output, cell.recurrent_kernel)
        return tf.matmul(tf.concat([at.of(inputs), output], 1), joined) + cell.bias

    def body(step: Any, output: Any, state: Any, written: Any) -> tuple[Any, ...]:
        for _ in range(options.unroll):
            place = place_of(step, options)
            *_, state, output = _cell_step(arguments(TimeStep(place), output), state)
            if not options.last_only:
                written = written.write(place, output)
            step += 1
        return step, output, state, written

    written = step_array(0 if options.last_only else options.steps)
    start = (tf.constant(0), *state_before(options), written)
    _, output, state, written = tf.while_loop(
        lambda step, *_: step < options.steps, body, start, parallel_iterations=1
    )
    return output if options.last_only else written.stack(), State(output, state)


def _lstm_by_block(inputs: Any, cell: Cell, options: LayerOptions) -> tuple[Any, Backward, State]:
    """As `passed`, with the forward pass in one TensorFlow kernel; always in the order of time."""
    arguments = block_arguments(inputs, cell, options)
    block = tf.raw_ops.BlockLSTM(**arguments, forget_bias=0.0, cell_clip=0.0)

    def back(gradient: Any) -> tuple[Any, Cell]:
        if options.fused:
            return fused_gradients(block, inputs, cell, options, gradient)
        states = tf.concat([state_before(options).state[None], block.cs], 0)
        forward = ForwardPass(block.i, block.ci, block.f, block.o, block.co, states, block.h)
        return gradients(forward, inputs, cell, options, gradient)

    outputs = block.h[-1] if options.last_only else block.h
    return outputs, back, state_after(block.h, block.cs, options)


def _lstm_by_step(inputs: Any, cell: Cell, options: LayerOptions) -> tuple[Any, Backward, State]:
    """As `passed`, with the forward pass in a loop over time steps."""
    if isinstance(inputs, Symbols):
        rows = cell.kernel + cell.bias
        forward, after = _forward(lambda at: tf.gather(rows, at.of(inputs.codes)), cell, options)
    else:
        products = product(rows_of(inputs, cell), cell.kernel, options.reduced) + cell.bias
        products = tf.reshape(products, (options.steps, options.batch, -1))
        forward, after = _forward(lambda at: at.of(products), cell, options)

    def back(gradient: Any) -> tuple[Any, Cell]:
        return gradients(forward, inputs, cell, options, gradient)

    if options.lengths is not None:
        after = state_after(forward.h, forward.cs.stack()[1:], options)
    if options.last_only:
        return forward.h[0] if options.reverse else forward.h[-1], back, after
    return forward.h, back, after


def _forward(
    products: Callable[[TimeStep], Any], cell: Cell, options: LayerOptions
) -> tuple[ForwardPass, State]:
    """Run the loop; `products` gives inputs times kernel plus bias of a step `[batch, 4 units]`."""
    recurrent = factor(cell.recurrent_kernel, options.reduced)

    def body(step: Any, output: Any, state: Any, *arrays: Any) -> tuple[Any, ...]:
        *gates, states, outputs = arrays
        for _ in range(options.unroll):
            place = place_of(step, options)
            arguments = products(TimeStep(place)) + product(output, recurrent, options.reduced)
            *new, state, output = _cell_step(arguments, state)
            gates = [array.write(step, gate) for array, gate in zip(gates, new, strict=True)]
            outputs = outputs.write(place, output)
            step += 1
            states = states.write(step, state)
        return step, output, state, *gates, states, outputs

    before = state_before(options)
    gates = [step_array(options.steps) for _ in range(5)]
    states = step_array(options.steps + 1).write(0, before.state)
    start = (tf.constant(0), *before, *gates, states, step_array(options.steps))
    loop = tf.while_loop(lambda step, *_: step < options.steps, body, start, parallel_iterations=1)
    i, ci, f, o, co, cs, h = loop[3:]
    return ForwardPass(i, ci, f, o, co, cs, h.stack()), State(*loop[1:3])


def _cell_step(arguments: Any, state: Any) -> tuple[Any, ...]:
    """A time step from the gates' arguments `[batch, 4 units]`: i, ci, f, o, co, state, output."""
    i, ci, f, o = tf.split(arguments, 4, axis=1)
    i, ci, f, o = tf.sigmoid(i), tf.tanh(ci), tf.sigmoid(f), tf.sigmoid(o)
    state = f * state + i * ci
    co = tf.tanh(state)
    return i, ci, f, o, co, state, o * co
