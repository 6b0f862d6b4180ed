"""The arithmetic of `keras.layers.LSTM` on a CPU, in fewer and larger TensorFlow operations.

Results and gradients are those of Keras's layer, up to the order of summation. It is faster for
three reasons. The forward pass is one kernel over all time steps, or has only the recurrent product
in its loop. So has the backward pass (`models/fast/lstm_gradients.py`). An input that is one symbol
selects a row of the kernel, in place of a product with a one-hot vector.

Gradients are written out here, since TensorFlow's own would neither skip what is not needed if only
the last step counts, nor share work between two directions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from lstm_sweep.models.fast.lstm_gradients import fused_gradients, gradients
from lstm_sweep.models.fast.lstm_parts import (
    Cell,
    ForwardPass,
    LayerOptions,
    State,
    Symbols,
    TimeStep,
    block_arguments,
    factor,
    place_of,
    product,
    reversed_steps,
    rows_of,
    state_after,
    state_before,
    step_array,
)

#: gradient of a layer's outputs -> gradients of its inputs, None for `Symbols`, and of its weights
Backward = Callable[[Any], tuple[Any, Cell]]


def lstm(inputs: Any, cell: Cell, options: LayerOptions) -> tuple[Any, Backward]:
    """Outputs of a layer and its backward pass, as in `jax.vjp`: `passed` without the state."""
    return passed(inputs, cell, options)[:2]


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


def outputs(inputs: Any, cell: Cell, options: LayerOptions) -> Any:
    """Outputs as those of `lstm`, without a backward pass."""
    return outputs_and_state(inputs, cell, options)[0]


def outputs_and_state(inputs: Any, cell: Cell, options: LayerOptions) -> tuple[Any, State]:
    """Outputs as those of `lstm`, without a backward pass, and the state after the last step.

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
