"""A training step of Keras's optimizers on a CPU, in one kernel of TensorFlow for each weight.

Keras composes an update of some twenty operations for each weight, each of which a small network
waits for in every step and every network when it is traced. What the optimizer keeps of weights is
packed as they are (`models/packed.py`) and given back to it when that is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from models.lean import keras
from models.packed import Packed

#: updates a weight by its gradient, given the handles of all that is kept of it
Kernel = Callable[..., None]


class Handles(NamedTuple):
    """Variables of a step, by their handles."""

    weights: Sequence[Any]
    #: what is kept of the weights: each kind of it for all of them, one kind after the other
    kept: Sequence[Any]
    #: steps taken so far, `<int64>[]`
    iterations: Any
    learning_rate: Any


class FastOptimizer:
    """Takes the steps of an optimizer of Keras that clips each gradient by its norm."""

    def __init__(self, optimizer: Any, weights: Sequence[Packed]) -> None:
        """`optimizer` is one of `KERNELS`, and has no option set but its clipping.

        Raises:
            ValueError: it is another, such as one that scales losses for float16.
        """
        if type(optimizer) not in KERNELS:
            raise ValueError(f"{type(optimizer).__name__}: expected one of its own kernels")
        if not optimizer.built:
            optimizer.build([weight.variable for weight in weights])
        kept, self._kernel = KERNELS[type(optimizer)]
        self._optimizer, self._weights = optimizer, weights
        self._kept = [
            Packed(variable, weight.packing, of_idle)
            for name, of_idle in kept.items()
            for variable, weight in zip(getattr(optimizer, name), weights, strict=True)
        ]
        # its kernel keeps the last increment, too, for a momentum, which is 0 here
        self._increments = [weight.zeros() for weight in weights if self._kernel is _rmsprop]

    @property
    def handles(self) -> Handles:
        """Its own variables, and the weights that it was made for."""
        return Handles(
            [one.handle for one in self._weights],
            [*(one.handle for one in self._kept), *self._increments],
            self._optimizer.iterations.value.handle,
            self._optimizer.learning_rate.value.handle,
        )

    def settle(self) -> None:
        """Give Keras's optimizer what is kept here."""
        for one in self._kept:
            one.settle()

    def step(self, handles: Handles, gradients: Sequence[Any]) -> None:
        """`optimizer.apply` up to rounding, for weights of any shapes.

        `handles` may be those of another optimizer of the same kind.
        """
        iterations = tf.raw_ops.ReadVariableOp(resource=handles.iterations, dtype=tf.int64)
        rate = tf.raw_ops.ReadVariableOp(resource=handles.learning_rate, dtype=tf.float32)
        update = self._kernel(self._optimizer, rate, iterations)
        gradients = _clipped(gradients, self._optimizer.clipnorm)
        for number, (weight, gradient) in enumerate(zip(handles.weights, gradients, strict=True)):
            update(weight, gradient, *handles.kept[number :: len(gradients)])
        one = tf.constant(1, tf.int64)
        tf.raw_ops.AssignAddVariableOp(resource=handles.iterations, value=one)


def _clipped(gradients: Sequence[Any], most: float) -> list[Any]:
    """Gradients scaled down to norms of `most`; one that is no longer keeps its bits."""
    halves = tf.stack([tf.nn.l2_loss(gradient) for gradient in gradients])  # norm^2 / 2
    limit = most * most / 2
    scales = tf.unstack(tf.sqrt(limit / tf.maximum(halves, limit)))
    return [gradient * scale for gradient, scale in zip(gradients, scales, strict=True)]


def _rmsprop(optimizer: Any, rate: Any, _: Any) -> Kernel:
    shared = {
        "lr": rate,
        "rho": tf.constant(optimizer.rho),
        "momentum": tf.constant(0.0),
        "epsilon": tf.constant(optimizer.epsilon),
    }

    def update(weight: Any, gradient: Any, velocity: Any, increment: Any) -> None:
        tf.raw_ops.ResourceApplyRMSProp(
            var=weight, ms=velocity, mom=increment, grad=gradient, **shared
        )

    return update


def _adam(optimizer: Any, rate: Any, iterations: Any) -> Kernel:
    steps = tf.cast(iterations + 1, tf.float32)
    shared = {
        "beta1_power": tf.pow(optimizer.beta_1, steps),
        "beta2_power": tf.pow(optimizer.beta_2, steps),
        "lr": rate,
        "beta1": tf.constant(optimizer.beta_1),
        "beta2": tf.constant(optimizer.beta_2),
        "epsilon": tf.constant(optimizer.epsilon),
    }

    def update(weight: Any, gradient: Any, momentum: Any, velocity: Any) -> None:
        tf.raw_ops.ResourceApplyAdam(var=weight, m=momentum, v=velocity, grad=gradient, **shared)

    return update


def _adagrad(optimizer: Any, rate: Any, _: Any) -> Kernel:
    # Keras's epsilon is under the root, a millionth of the accumulator's first value
    nothing = tf.constant(0.0)

    def update(weight: Any, gradient: Any, accumulator: Any) -> None:
        tf.raw_ops.ResourceApplyAdagradV2(
            var=weight, accum=accumulator, lr=rate, epsilon=nothing, grad=gradient
        )

    return update


def _sgd(_: Any, rate: Any, __: Any) -> Kernel:
    def update(weight: Any, gradient: Any) -> None:
        tf.raw_ops.ResourceApplyGradientDescent(var=weight, alpha=rate, delta=gradient)

    return update


#: what each optimizer keeps of its weights, with its value for those of idle units, whose gradients
#: are 0; and its kernel
KERNELS: dict[type, tuple[dict[str, float], Callable[[Any, Any, Any], Kernel]]] = {
    keras.optimizers.RMSprop: ({"_velocities": 0.0}, _rmsprop),
    keras.optimizers.Adam: ({"_momentums": 0.0, "_velocities": 0.0}, _adam),
    # gradients are divided by its root
    keras.optimizers.Adagrad: ({"_accumulators": 1.0}, _adagrad),
    keras.optimizers.SGD: ({}, _sgd),
}
