"""A training step of Keras's optimizers on a CPU, in one kernel of TensorFlow for each weight.

Keras composes an update of some twenty operations for each weight, each of which a small network
waits for in every step and every network when it is traced. The variables remain those of the
optimizer, so it can be kept and taken up as before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from models.lean import keras

#: what takes a step with the gradients of all weights, in their order
Update = Callable[[Sequence[Any]], None]


def update_of(optimizer: Any, variables: Sequence[Any]) -> Update:
    """`optimizer.apply` for these weights, up to rounding; itself if there is nothing faster.

    `optimizer` clips each gradient by its norm and has no other option.
    """
    if not optimizer.built:
        optimizer.build(variables)
    kernel = {
        keras.optimizers.RMSprop: _rmsprop,
        keras.optimizers.Adam: _adam,
        keras.optimizers.SGD: _sgd,
    }.get(type(optimizer))
    if kernel is None:
        return lambda gradients: optimizer.apply(gradients, variables)
    step = kernel(optimizer, [variable.value.handle for variable in variables])

    def update(gradients: Sequence[Any]) -> None:
        step(_clipped(gradients, optimizer.clipnorm))
        optimizer.iterations.value.assign_add(1)

    return update


def _clipped(gradients: Sequence[Any], most: float) -> list[Any]:
    """Gradients scaled down to norms of `most`; one that is no longer keeps its bits."""
    halves = tf.stack([tf.nn.l2_loss(gradient) for gradient in gradients])  # norm^2 / 2
    limit = most * most / 2
    scales = tf.unstack(tf.sqrt(limit / tf.maximum(halves, limit)))
    return [gradient * scale for gradient, scale in zip(gradients, scales, strict=True)]


def _rmsprop(optimizer: Any, weights: Sequence[Any]) -> Update:
    # the kernel keeps the last increment for a momentum, which is 0
    increments = [tf.Variable(tf.zeros_like(one.value)) for one in optimizer._velocities]

    def step(gradients: Sequence[Any]) -> None:
        shared = {
            "lr": tf.convert_to_tensor(optimizer.learning_rate.value),
            "rho": tf.constant(optimizer.rho),
            "momentum": tf.constant(0.0),
            "epsilon": tf.constant(optimizer.epsilon),
        }
        for number, gradient in enumerate(gradients):
            tf.raw_ops.ResourceApplyRMSProp(
                var=weights[number],
                ms=optimizer._velocities[number].value.handle,
                mom=increments[number].handle,
                grad=gradient,
                **shared,
            )

    return step


def _adam(optimizer: Any, weights: Sequence[Any]) -> Update:
    def step(gradients: Sequence[Any]) -> None:
        steps = tf.cast(optimizer.iterations.value + 1, tf.float32)
        shared = {
            "beta1_power": tf.pow(optimizer.beta_1, steps),
            "beta2_power": tf.pow(optimizer.beta_2, steps),
            "lr": tf.convert_to_tensor(optimizer.learning_rate.value),
            "beta1": tf.constant(optimizer.beta_1),
            "beta2": tf.constant(optimizer.beta_2),
            "epsilon": tf.constant(optimizer.epsilon),
        }
        for number, gradient in enumerate(gradients):
            tf.raw_ops.ResourceApplyAdam(
                var=weights[number],
                m=optimizer._momentums[number].value.handle,
                v=optimizer._velocities[number].value.handle,
                grad=gradient,
                **shared,
            )

    return step


def _sgd(optimizer: Any, weights: Sequence[Any]) -> Update:
    def step(gradients: Sequence[Any]) -> None:
        rate = tf.convert_to_tensor(optimizer.learning_rate.value)
        for weight, gradient in zip(weights, gradients, strict=True):
            tf.raw_ops.ResourceApplyGradientDescent(var=weight, alpha=rate, delta=gradient)

    return step
