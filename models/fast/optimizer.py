"""Steps of Keras's optimizers on a CPU, with one fused TensorFlow kernel for each weight.

Keras composes each update of about twenty operations, which slows the training of small networks
and the tracing of all. Slot variables of the optimizer are kept in the layout of the weights
(`models/fast/weight_layout.py`) and are written back to Keras's by `sync`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from lstm_sweep.models.fast.weight_layout import KernelVariable
from lstm_sweep.models.keras_import import keras

#: (handle of a weight, its gradient, handles of its slot variables) -> None; updates all of them
Kernel = Callable[..., None]


class Handles(NamedTuple):
    """Resource handles of the variables that a step reads and writes."""

    weights: Sequence[Any]
    #: slot variables: the first slot of every weight, then the second slot of every weight ...
    slots: Sequence[Any]
    #: number of steps taken so far, `<int64>[]`
    iterations: Any
    learning_rate: Any


class FastOptimizer:
    """Takes the steps of a Keras optimizer that clips each gradient to a maximal norm."""

    def __init__(self, optimizer: Any, weights: Sequence[KernelVariable]) -> None:
        """`optimizer` is one of `KERNELS` with default options, except for `clipnorm`.

        Raises:
            ValueError: it is another one, such as `LossScaleOptimizer`.
        """
        if type(optimizer) not in KERNELS:
            names = ", ".join(known.__name__ for known in KERNELS)
            raise ValueError(f"no CPU kernel for {type(optimizer).__name__}: expected {names}")
        if not optimizer.built:
            optimizer.build([weight.variable for weight in weights])
        slots, self._kernel = KERNELS[type(optimizer)]
        self._optimizer, self._weights = optimizer, weights
        self._slots = [
            KernelVariable(variable, weight.layout, idle_value)
            for name, idle_value in slots.items()
            for variable, weight in zip(getattr(optimizer, name), weights, strict=True)
        ]
        # the RMSprop kernel has one more slot, for momentum, which is 0 here
        self._increments = [weight.zeros() for weight in weights if self._kernel is _rmsprop]

    @property
    def handles(self) -> Handles:
        """Handles of the weights and of all variables of the optimizer."""
        return Handles(
            [weight.handle for weight in self._weights],
            [*(slot.handle for slot in self._slots), *self._increments],
            self._optimizer.iterations.value.handle,
            self._optimizer.learning_rate.value.handle,
        )

    def sync(self) -> None:
        """Write the slot variables to those of Keras's optimizer."""
        for slot in self._slots:
            slot.sync()

    def step(self, handles: Handles, gradients: Sequence[Any]) -> None:
        """Update the variables of `handles` as `optimizer.apply` would, up to rounding.

        `handles` may belong to another optimizer with the same class and options.
        """
        iterations = tf.raw_ops.ReadVariableOp(resource=handles.iterations, dtype=tf.int64)
        rate = tf.raw_ops.ReadVariableOp(resource=handles.learning_rate, dtype=tf.float32)
        update = self._kernel(self._optimizer, rate, iterations)
        gradients = _clipped(gradients, self._optimizer.clipnorm)
        for number, (weight, gradient) in enumerate(zip(handles.weights, gradients, strict=True)):
            update(weight, gradient, *handles.slots[number :: len(gradients)])
        tf.raw_ops.AssignAddVariableOp(resource=handles.iterations, value=tf.constant(1, tf.int64))


def _clipped(gradients: Sequence[Any], most: float) -> list[Any]:
    """Each gradient scaled down to the norm `most` if its norm is larger, else unchanged."""
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
    # Keras adds an epsilon of 1e-7 under the root, to an accumulator that starts at 0.1
    zero = tf.constant(0.0)

    def update(weight: Any, gradient: Any, accumulator: Any) -> None:
        tf.raw_ops.ResourceApplyAdagradV2(
            var=weight, accum=accumulator, lr=rate, epsilon=zero, grad=gradient
        )

    return update


def _sgd(_: Any, rate: Any, __: Any) -> Kernel:
    def update(weight: Any, gradient: Any) -> None:
        tf.raw_ops.ResourceApplyGradientDescent(var=weight, alpha=rate, delta=gradient)

    return update


#: for each class of optimizer: {name of each slot variable: its value for idle units}, and its
#: kernel; gradients of idle units are 0
KERNELS: dict[type, tuple[dict[str, float], Callable[[Any, Any, Any], Kernel]]] = {
    keras.optimizers.RMSprop: ({"_velocities": 0.0}, _rmsprop),
    keras.optimizers.Adam: ({"_momentums": 0.0, "_velocities": 0.0}, _adam),
    # gradients are divided by the root of the accumulator, so it must not be 0
    keras.optimizers.Adagrad: ({"_accumulators": 1.0}, _adagrad),
    keras.optimizers.SGD: ({}, _sgd),
}
