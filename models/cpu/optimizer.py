"""Polynomial decay averaging of weights over the steps of a training.

After Shamir and Zhang, Stochastic Gradient Descent for Non-smooth Optimization (ICML 2013, arXiv
1212.1824, section 4): with `w` the weights after step `t`,

    average = average + share * (w - average),  share = (eta + 1) / (t + eta).

The weights of step `s` then count about `(s / t) ** eta`, so the average is mostly over the last
`1 / (1 + eta)` of all steps so far. It needs no end of the training that is known beforehand.

Weights of neighbouring steps are nearly equal. So after the first steps only those of every
`INTERVAL`th step enter, and of these the same average is taken.

Steps of Keras's optimizers on a CPU, with one fused TensorFlow kernel for each weight.

Keras composes each update of about twenty operations, which slows the training of small networks
and the tracing of all. Slot variables of the optimizer are kept in the layout of the weights
(`models/cpu/optimizer.py`) and are written back to Keras's by `sync`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lstm_sweep.models.backend import keras
from lstm_sweep.models.config import ClassConfig, TrialConfig

#: places in Keras's order of gates (input, forget, candidate, output) of the kernels' gates (input,
#: candidate, forget, output); the permutation is its own inverse
GATES = (0, 2, 1, 3)

#: an LSTM layer of at least `CROWDED_FROM` units, if a multiple of `CROWDED_MULTIPLE`, gets so many
#: idle units (with weights of zero): matrix rows that lie a power of two apart share few cache
#: lines, and TensorFlow's matrix products then take up to twice as long
IDLE_UNITS, CROWDED_FROM, CROWDED_MULTIPLE = 4, 128, 64

Array = NDArray[Any]


def idle_units(layer_size: int) -> int:
    crowded = layer_size >= CROWDED_FROM and layer_size % CROWDED_MULTIPLE == 0
    return IDLE_UNITS if crowded else 0


class WeightLayout(NamedTuple):
    """Converts a weight, a gradient or slot variable of it, or a state, between the two layouts.

    The columns of a weight may be four blocks, one for each gate; its rows may be one block for
    each layer of units that it reads. Idle units are added at the end of each of these blocks. For
    example, `pack` converts the kernel of an LSTM layer of 1 unit as follows, with one idle unit:

        input  forget  candidate  output      input  -  candidate  -  forget  -  output  -
         10      20        30       40    ->    10   0      30     0    20    0    40    0
    """

    #: number of axes, 1 or 2
    axes: int
    #: number of blocks of units along the rows: 2 after a bidirectional layer, 0 if rows are not
    #: units
    unit_blocks: int = 0
    #: number of blocks of units along the columns: 4 for gates, 1 for a state, 0 for none
    gates: int = 0
    #: idle units of each layer
    idle: int = 0

    def pack(self, array: Array, idle_value: float = 0.0) -> Array:
        """Convert from Keras's layout; idle units get `idle_value`."""
        blocks = self._blocks(array)
        count, rows, gates, columns = blocks.shape
        shape = (count, rows + self._idle_rows, gates, columns + self._idle_columns)
        packed = np.full(shape, idle_value, array.dtype)
        for place, gate in enumerate(self._order):
            packed[:, :rows, place, :columns] = blocks[:, :, gate]
        return self._joined(packed)

    def unpack(self, array: Array) -> Array:
        """Convert to Keras's layout, without idle units."""
        blocks = self._blocks(array)
        _, rows, _, columns = blocks.shape
        used = blocks[:, : rows - self._idle_rows, :, : columns - self._idle_columns]
        return self._joined(used[:, :, self._order])

    @property
    def _idle_rows(self) -> int:
        return self.idle if self.unit_blocks else 0

    @property
    def _idle_columns(self) -> int:
        return self.idle if self.gates else 0

    @property
    def _order(self) -> tuple[int, ...]:
        return GATES if self.gates == len(GATES) else (0,)

    def _blocks(self, array: Array) -> Array:
        """View as `[blocks of rows, rows, gates, columns]`."""
        rows, columns = array.shape if self.axes == 2 else (1, *array.shape)
        blocks, gates = self.unit_blocks or 1, len(self._order)
        return array.reshape(blocks, rows // blocks, gates, columns // gates)

    def _joined(self, blocks: Array) -> Array:
        count, rows, gates, columns = blocks.shape
        return blocks.reshape((count * rows, gates * columns)[2 - self.axes :])


def weight_layouts(config: TrialConfig) -> list[WeightLayout]:
    """Layout of each weight of a network, in Keras's order of weights."""
    attention = isinstance(config, ClassConfig) and config.pooling == "attention"
    directions = 1 if config.direction == "uni" else 2
    idle = idle_units(config.layer_size)
    gated = partial(WeightLayout, gates=len(GATES), idle=idle)
    cells = list[WeightLayout]()
    for number in range(config.layers):
        kernel = gated(2, unit_blocks=directions if number else 0)
        cells += [kernel, gated(2, unit_blocks=1), gated(1)] * directions
    of_outputs = WeightLayout(2, unit_blocks=directions, idle=idle)
    dense = [*[of_outputs] * attention, of_outputs, WeightLayout(1)]
    return [WeightLayout(2)] * bool(config.embedding_size) + cells + dense


class KernelVariable:
    """A TensorFlow variable with the values of a Keras variable in the kernels' layout."""

    def __init__(self, variable: Any, layout: WeightLayout, idle_value: float = 0.0) -> None:
        self.variable, self.layout = variable, layout
        value = layout.pack(variable.numpy(), idle_value)
        self._shape = value.shape
        #: resource handle, as TensorFlow's raw operations take it
        self.handle = _new_variable(value)

    @property
    def value(self) -> Array:
        value: Array = tf.raw_ops.ReadVariableOp(resource=self.handle, dtype=tf.float32).numpy()
        return value

    def zeros(self) -> Any:
        return _new_variable(np.zeros(self._shape, np.float32))

    def sync(self) -> None:
        tf.raw_ops.AssignVariableOp(
            resource=self.variable.value.handle,
            value=self.layout.unpack(self.value),
            validate_shape=True,
        )


def _new_variable(value: Array) -> Any:
    """Handle of an anonymous resource variable, which is freed with its handle.

    This takes a tenth of the time that `tf.Variable` takes.
    """
    from tensorflow.python.eager import context  # not public

    handle = tf.raw_ops.VarHandleOp(
        dtype=tf.float32, shape=value.shape, shared_name=context.anonymous_name()
    )
    tf.raw_ops.AssignVariableOp(resource=handle, value=value)
    return handle


#: the weights of each step enter the average up to this step, later those of every `INTERVAL`th
EACH_UNTIL, INTERVAL = 128, 8
#: `eta`: the average is mostly over the last 3 % of all steps
ETA = 32.0


def is_due(step: int) -> bool:
    """Whether the weights after step `step`, counted from 1, enter the average."""
    return step <= EACH_UNTIL or step % INTERVAL == 0


def share(step: int) -> float:
    """Share of the weights after step `step` in the average, if they enter it."""
    return float(share_of_each(step if step <= EACH_UNTIL else step / INTERVAL))


def share_of_each(place: Any) -> Any:
    """The same by the place of the weights among those that enter the average, from 1."""
    return (ETA + 1.0) / (place + ETA)


class Handles(NamedTuple):
    """Resource handles of the variables that a step reads and writes."""

    weights: Sequence[Any]
    #: slot variables: the first slot of every weight, then the second slot of every weight ...
    slots: Sequence[Any]
    #: average of every weight, or none if there is no averaging
    averages: Sequence[Any]
    #: number of steps taken so far, `<int64>[]`
    iterations: Any
    learning_rate: Any


class FastOptimizer:
    """Takes the steps of a Keras optimizer, and averages the weights."""

    def __init__(
        self,
        optimizer: Any,
        weights: Sequence[KernelVariable],
        averages: Sequence[KernelVariable] = (),
    ) -> None:
        """`optimizer` is one of `KERNELS`.

        Its options are the defaults, except for `global_clipnorm`, which must be given, and
        `weight_decay`. `averages` are one for each of `weights`, or none.
        """
        if type(optimizer) not in KERNELS:
            names = ", ".join(known.__name__ for known in KERNELS)
            raise ValueError(f"no CPU kernel for {type(optimizer).__name__}: expected {names}")
        if not optimizer.built:
            optimizer.build([weight.variable for weight in weights])
        self._kernel = KERNELS[type(optimizer)]
        self._optimizer, self._weights, self._averages = optimizer, weights, averages
        self._slots = [
            KernelVariable(variable, weight.layout, idle_value)
            for name, idle_value in self._kernel.slots.items()
            for variable, weight in zip(getattr(optimizer, name), weights, strict=True)
        ]
        unused = self._kernel.unused_slots
        self._unused_slots = [weight.zeros() for _ in range(unused) for weight in weights]

    @property
    def handles(self) -> Handles:
        return Handles(
            [weight.handle for weight in self._weights],
            [*(slot.handle for slot in self._slots), *self._unused_slots],
            [average.handle for average in self._averages],
            self._optimizer.iterations.value.handle,
            self._optimizer.learning_rate.value.handle,
        )

    def sync(self) -> None:
        for kept in (*self._slots, *self._averages):
            kept.sync()

    def step(self, handles: Handles, gradients: Sequence[Any], weight_decay: Any) -> None:
        """Update the variables of `handles` as `optimizer.apply` would, up to rounding.

        `handles` may belong to another optimizer with the same class and options, except for
        another `weight_decay` above 0, `<float32>[]`.
        """
        iterations = tf.raw_ops.ReadVariableOp(resource=handles.iterations, dtype=tf.int64)
        rate = tf.raw_ops.ReadVariableOp(resource=handles.learning_rate, dtype=tf.float32)
        kernel = self._kernel
        others = kernel.others(self._optimizer, rate, iterations)
        gradients = clipped(gradients, self._optimizer.global_clipnorm)
        if self._optimizer.weight_decay:
            self._decay(handles.weights, rate * weight_decay)
        for number, (weight, gradient) in enumerate(zip(handles.weights, gradients, strict=True)):
            own = gradient, *handles.slots[number :: len(gradients)]
            kernel.operation(var=weight, **dict(zip(kernel.arguments, own, strict=True)), **others)
        tf.raw_ops.AssignAddVariableOp(resource=handles.iterations, value=tf.constant(1, tf.int64))
        if handles.averages:
            _average(handles, iterations + 1)

    def _decay(self, weights: Sequence[Any], share: Any) -> None:
        """Take a share off each weight but the biases."""
        for handle, weight in zip(weights, self._weights, strict=True):
            if weight.layout.axes > 1:
                value = tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32)
                tf.raw_ops.ResourceApplyGradientDescent(var=handle, alpha=share, delta=value)


def clipped(gradients: Sequence[Any], most: float) -> list[Any]:
    """Gradients scaled down by one factor to the norm `most` of all, if that is larger.

    After Pascanu et al. (arXiv 1211.5063).
    """
    half = tf.add_n([tf.nn.l2_loss(gradient) for gradient in gradients])  # norm^2 / 2
    limit = most * most / 2
    scale = tf.sqrt(limit / tf.maximum(half, limit))
    return [gradient * scale for gradient in gradients]


def _average(handles: Handles, step: Any) -> None:
    """Average the weights after step `step`, `<int64>[]`, as the module says."""
    early = step <= EACH_UNTIL
    due = tf.logical_or(early, tf.equal(step % INTERVAL, 0))
    steps = tf.cast(step, tf.float32)
    place = tf.where(early, steps, steps / INTERVAL)
    share = share_of_each(place)

    def update(number: Any) -> Any:
        for average, weight in zip(handles.averages, handles.weights, strict=True):
            old, new = (
                tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32)
                for handle in (average, weight)
            )
            tf.raw_ops.ResourceApplyGradientDescent(var=average, alpha=share, delta=old - new)
        return (number + 1,)

    # a loop of one turn or none: on one thread, the executor waits for ever for a `tf.cond`
    turns = tf.cast(due, tf.int32)
    tf.while_loop(lambda number: number < turns, update, (tf.constant(0),), parallel_iterations=1)


class Kernel(NamedTuple):
    """The operation of TensorFlow that takes the steps of a class of optimizers."""

    #: name of each slot variable of Keras's optimizer, in the order in which the operation takes
    #: them: its value for idle units, whose gradients are 0
    slots: dict[str, float]
    operation: Any
    #: its arguments for the gradient and for the slots
    arguments: tuple[str, ...]
    #: (optimizer, learning rate, iterations) -> all others
    others: Callable[[Any, Any, Any], dict[str, Any]]
    #: number of further slots that it takes and Keras's optimizer does not have; they are 0
    unused_slots: int = 0


def _of_rmsprop(optimizer: Any, rate: Any, _: Any) -> dict[str, Any]:
    constants = {"rho": optimizer.rho, "momentum": 0.0, "epsilon": optimizer.epsilon}
    return {"lr": rate} | {name: tf.constant(value) for name, value in constants.items()}


def _of_adam(optimizer: Any, rate: Any, iterations: Any) -> dict[str, Any]:
    steps = tf.cast(iterations + 1, tf.float32)
    return {
        "beta1_power": tf.pow(optimizer.beta_1, steps),
        "beta2_power": tf.pow(optimizer.beta_2, steps),
        "lr": rate,
        "beta1": tf.constant(optimizer.beta_1),
        "beta2": tf.constant(optimizer.beta_2),
        "epsilon": tf.constant(optimizer.epsilon),
    }


KERNELS: dict[type, Kernel] = {
    # without momentum, which the operation has a slot for
    keras.optimizers.RMSprop: Kernel(
        {"_velocities": 0.0},
        tf.raw_ops.ResourceApplyRMSProp,
        ("grad", "ms", "mom"),
        _of_rmsprop,
        unused_slots=1,
    ),
    keras.optimizers.Adam: Kernel(
        {"_momentums": 0.0, "_velocities": 0.0},
        tf.raw_ops.ResourceApplyAdam,
        ("grad", "m", "v"),
        _of_adam,
    ),
    # gradients are divided by the root of the accumulator, so it must not be 0; Keras adds an
    # epsilon of 1e-7 under the root, to an accumulator that starts at 0.1
    keras.optimizers.Adagrad: Kernel(
        {"_accumulators": 1.0},
        tf.raw_ops.ResourceApplyAdagradV2,
        ("grad", "accum"),
        lambda _, rate, __: {"lr": rate, "epsilon": tf.constant(0.0)},
    ),
    keras.optimizers.SGD: Kernel(
        {}, tf.raw_ops.ResourceApplyGradientDescent, ("delta",), lambda _, rate, __: {"alpha": rate}
    ),
}
