"""Backward pass of an LSTM layer: gradients of inputs and weights from those of the outputs.

Only the recurrent product is computed step by step. Gradients of kernels, bias and inputs are one
matrix product over all time steps each (Appleyard et al., arXiv 1604.01946).
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from lstm_sweep.models.fast.lstm_parts import (
    Cell,
    ForwardPass,
    LayerOptions,
    Symbols,
    TimeStep,
    block_arguments,
    factor,
    place_of,
    product,
    rows_of,
    step_array,
    sum_of_rows,
)


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
    block_gradients = tf.raw_ops.BlockLSTMGrad(
        **block_arguments(inputs, cell, options),
        **block._asdict(),
        cs_grad=tf.zeros_like(gradient),
        h_grad=gradient,
    )
    features = tf.shape(cell.kernel)[0]
    kernel_gradient, recurrent_kernel_gradient = tf.split(
        block_gradients.w_grad, (features, options.units)
    )
    return block_gradients.x_grad, Cell(
        kernel_gradient, recurrent_kernel_gradient, block_gradients.b_grad
    )


def _gate_gradients(forward: ForwardPass, cell: Cell, options: LayerOptions, gradient: Any) -> Any:
    """Gradients of the gates' arguments, `[time * batch, 4 units]`, in the order of time."""
    zeros = tf.zeros((options.batch, options.units))
    unused = _unused_arguments(cell, options, zeros)
    transposed = factor(tf.transpose(cell.recurrent_kernel), options.reduced)

    def cell_gradient(
        at: TimeStep, after: Any, before: Any, output_gradient: Any, state_gradient: Any
    ) -> Any:
        return tf.raw_ops.LSTMBlockCellGrad(
            **unused,
            cs_prev=before,
            i=at.of(forward.i),
            cs=after,
            f=at.of(forward.f),
            o=at.of(forward.o),
            ci=at.of(forward.ci),
            co=at.of(forward.co),
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
    state = TimeStep(step + 1).of(forward.cs)
    start = (
        step,
        state,
        gradient if options.last_only else zeros,
        zeros,
        step_array(options.steps),
    )
    *_, written = tf.while_loop(lambda step, *_: step >= 0, body, start, parallel_iterations=1)
    return tf.reshape(written.stack(), (-1, 4 * options.units))


def _unused_arguments(cell: Cell, options: LayerOptions, zeros: Any) -> dict[str, Any]:
    """Arguments of `LSTMBlockCellGrad` of which the kernel checks only the shapes."""
    return {
        "x": tf.zeros((options.batch, 0)),
        "h_prev": zeros,
        "w": cell.recurrent_kernel,
        "b": cell.bias,
        **dict.fromkeys(("wci", "wcf", "wco"), tf.zeros((options.units,))),
    }
