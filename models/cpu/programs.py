"""Programs that run many training steps in one call of a TensorFlow graph, and one without it.

The loop over steps is part of the graph, so no Python runs between two steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import tensorflow as tf
from typing_extensions import override

from lstm_sweep.models.backend import keras
from lstm_sweep.models.config import ClassConfig, TrialConfig
from lstm_sweep.models.cpu import optimizer as averaging
from lstm_sweep.models.cpu.forward import (
    SEED_STRIDE,
    Dropout,
    Form,
    Gradients,
    Sample,
    Stack,
    losses,
)
from lstm_sweep.models.cpu.graph_cache import GraphCache
from lstm_sweep.models.cpu.lstm_kernels import State
from lstm_sweep.models.cpu.optimizer import (
    FastOptimizer,
    Handles,
    KernelVariable,
    WeightLayout,
    idle_units,
    weight_layouts,
)
from lstm_sweep.models.cpu.program_types import (
    Codes,
    Float32s,
    Networks,
    Program,
    States,
    Stream,
)
from lstm_sweep.models.data.streams import CarriedSteps
from lstm_sweep.models.data.windows import ClassSteps, Indices, StepWindows


def _of_classes(batch: int | None = None) -> list[Any]:
    of_rows = (None, batch)
    return [
        tf.TensorSpec((None, batch, None), tf.int32),
        tf.TensorSpec(of_rows, tf.int32),
        tf.TensorSpec((None,), tf.int32),
        tf.TensorSpec(of_rows, tf.int32),
        tf.TensorSpec(of_rows, tf.float32),
    ]


class StepwiseProgram(Program):
    """Keras's layers, and one call of `train_on_batch` for each step, with any backend of Keras."""

    def __init__(self, networks: Networks, config: TrialConfig) -> None:
        self._networks = networks
        self._every_step, self.streams = config.direction == "uni", config.carried
        #: what gives the outputs of a model
        self._called: Callable[[Any, Any], Any] = lambda model, given: model.predict_on_batch(given)

    @override
    def train(self, steps: Any) -> tuple[Float32s, Float32s]:
        model, losses, weights = self._networks.trained, list[float](), list[float]()
        of_windows = isinstance(steps, StepWindows)
        for batch in steps.batches(**{"every_step": self._every_step} if of_windows else {}):
            model.reset_metrics()
            loss = model.train_on_batch(batch.inputs, batch.targets, sample_weight=batch.weights)
            losses.append(float(loss))
            weights.append(float(batch.weights.sum()))
            self._average()
        return np.array(losses, np.float32), np.array(weights, np.float32)

    def _average(self) -> None:
        model, averages = self._networks.trained, self._networks.averages
        step = int(model.optimizer.iterations)
        if averages and step and averaging.is_due(step):
            share = averaging.share(step)
            for average, weight in zip(averages, model.trainable_variables, strict=True):
                average.assign_add(share * (weight - average))

    @override
    def sync(self) -> None:
        self._networks.sync()

    @override
    def logits(self, *inputs: Codes) -> Float32s:
        given = inputs[0] if len(inputs) == 1 else [*inputs]
        return np.asarray(self._called(self._networks.scored, given))

    @override
    def last_logits(self, windows: Codes, count: int) -> Float32s:
        return np.asarray(self._called(self._networks.every_step, windows)[:, -count:])

    @override
    def stream(self, codes: Codes, places: Indices, states: States | None) -> Stream:
        streamed = self._networks.streamed
        if states is None:
            inputs = streamed.inputs[1:]
            states = [np.zeros((len(codes), one.shape[-1]), np.float32) for one in inputs]
        logits, *after = self._called(streamed, [codes, *states])
        step, row = np.divmod(places, len(codes))
        rows = keras.ops.reshape(logits, (-1, logits.shape[-1]))
        chosen = keras.ops.take(rows, row * codes.shape[1] + step, axis=0)
        return keras.ops.convert_to_numpy(chosen), after


class KerasProgram(StepwiseProgram):
    """The same with many steps in one call of a graph; layers of Keras use cuDNN on a GPU."""

    def __init__(self, networks: Networks, config: TrialConfig) -> None:
        super().__init__(networks, config)
        self._optimizer = networks.trained.optimizer
        self._of_classes = isinstance(config, ClassConfig)
        batch, time = config.batch_size, config.sequence_length
        of_windows = [
            tf.TensorSpec((None, batch, time + 1), tf.int32),
            tf.TensorSpec((None, batch), tf.int32),
            *[tf.TensorSpec((None, batch), tf.float32)] * config.carried,
        ]
        signature = _of_classes(batch) if self._of_classes else of_windows
        self._train = tf.function(partial(_loop, self._step), signature, autograph=False)
        self._called = tf.function(
            lambda model, given: model(given, training=False),
            autograph=False,
            reduce_retracing=True,
        )

    @override
    def train(self, steps: Any) -> tuple[Float32s, Float32s]:
        means, counts = self._train(*_arrays(steps))
        return means.numpy(), counts.numpy()

    def _predicted(self, arrays: Sequence[Any]) -> tuple[Any, Any, Any]:
        """Logits of the arrays of one step, their targets, and the weights of these."""
        model = partial(self._networks.trained, training=True)
        if self._of_classes:
            codes, lengths, time, labels, weights = arrays
            return model([codes[:, :time], lengths]), labels, weights
        windows, bound, *goes_on = arrays
        carried = bool(goes_on)
        targets, weights = _targets(tf.transpose(windows), bound, self._every_step, carried)
        logits = model([windows[:, :-1], *goes_on, bound] if carried else windows[:, :-1])
        return tf.transpose(logits, (1, 0, 2)) if self._every_step else logits, targets, weights

    def _step(self, *arrays: Any) -> tuple[Any, Any]:
        """Take a step of the optimizer; the mean loss and the weight of the targets."""
        variables = self._networks.trained.trainable_variables
        with tf.GradientTape() as tape:
            logits, targets, weights = self._predicted(arrays)
            count = tf.reduce_sum(weights)
            target_losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
            loss = tf.math.divide_no_nan(tf.reduce_sum(target_losses * weights), count)
            scaled = self._optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, [variable.value for variable in variables])
        # the gradient of an embedding is sparse; Keras would square its parts and not their sum
        dense = [tf.convert_to_tensor(gradient) for gradient in gradients]
        self._optimizer.apply(dense, variables)
        self._average()
        return loss, count

    @override
    def _average(self) -> None:
        """Average the weights after each step: a choice in the graph would make a GPU wait."""
        if not self._networks.averages:
            return
        optimizer = getattr(self._optimizer, "inner_optimizer", self._optimizer)
        # none is counted if the gradients of a first step were not finite
        step = tf.maximum(tf.cast(optimizer.iterations, tf.float32), 1.0)
        share = averaging.share_of_each(step)
        variables = self._networks.trained.trainable_variables
        for average, variable in zip(self._networks.averages, variables, strict=True):
            average.assign_add(share * (variable.value - average.value))


class FastProgram(Program):
    """Computes with the kernels of `models/cpu/forward.py`, which are faster on a CPU.

    Weights, the state of the optimizer and states that are carried are kept in the layout of these
    kernels until `sync` is called.
    """

    #: of the arrays that are scored
    _scored_signature: tuple[Any, ...] = (tf.TensorSpec((None, None), tf.int32),)

    def __init__(
        self, networks: Networks, config: TrialConfig, seed: int, graphs: GraphCache
    ) -> None:
        # the first weight has a row for each symbol
        self._form = Form.of(config, networks.trained.trainable_variables[0].shape[0])
        self.streams = self._form.every_step
        self._networks, self._layouts = networks, weight_layouts(config)
        self._idle = idle_units(config.layer_size)
        self._units = config.layer_size + self._idle
        # each layer adds its number, below `SEED_STRIDE`, to the seed of dropout
        dropout_seed = tf.constant(SEED_STRIDE * seed, tf.int64)
        self._numbers = tf.constant(config.dropout), dropout_seed, tf.constant(config.weight_decay)
        steps = config.optimizer, bool(config.weight_decay), config.averaging
        self._train = graphs.function(f"train {steps} {self._form}", self._trace_train)
        self._logits = graphs.function(f"logits {self._form.scored}", self._trace_logits)
        self._stream = graphs.function(f"stream {self._form.streamed}", self._trace_stream)

    @property
    def _signature(self) -> list[Any]:
        """Of the arrays of steps."""
        return [
            tf.TensorSpec((None, None, None), tf.int32),
            tf.TensorSpec((None, None), tf.int32),
            *[tf.TensorSpec((None, None), tf.float32)] * self._form.carried,
        ]

    @override
    def train(self, steps: Any) -> tuple[Float32s, Float32s]:
        means, counts = self._train(*_arrays(steps), *self._numbers, *self._handles)
        return means.numpy(), counts.numpy()

    @override
    def logits(self, *inputs: Codes) -> Float32s:
        (logits,) = self._logits(*inputs, *self._scored)
        return np.asarray(logits)

    @override
    def last_logits(self, windows: Codes, count: int) -> Float32s:
        return self.last_streamed(windows, count)

    @override
    def stream(self, codes: Codes, places: Indices, states: States | None) -> Stream:
        if states is None:
            states = [tf.zeros((len(codes), self._units))] * (2 * self._form.layers)
        logits, *after = self._stream(codes, places, *states, *self._scored)
        return logits.numpy(), after

    @override
    def sync(self) -> None:
        if "_optimizer" in vars(self):  # otherwise no step was taken
            for kept in (*self._states, *self._weights):
                kept.sync()
            self._optimizer.sync()
        self._networks.sync()

    # variables are created at the first use, after a checkpoint may have set those of Keras

    @cached_property
    def _weights(self) -> list[KernelVariable]:
        return list(map(KernelVariable, self._networks.trained.trainable_variables, self._layouts))

    @cached_property
    def _averages(self) -> list[KernelVariable]:
        return list(map(KernelVariable, self._networks.averages, self._layouts))

    @cached_property
    def _states(self) -> list[KernelVariable]:
        """Output and state of each layer, if they are carried."""
        variables = self._networks.trained.non_trainable_variables if self._form.carried else []
        kept = [one for one in variables if len(one.shape) == 2]  # others are of dropout
        return [KernelVariable(one, WeightLayout(2, gates=1, idle=self._idle)) for one in kept]

    @cached_property
    def _optimizer(self) -> FastOptimizer:
        optimizer = self._networks.trained.optimizer
        return FastOptimizer(optimizer, self._weights, self._averages)

    @property
    def _scored(self) -> list[Any]:
        return [weight.handle for weight in self._averages or self._weights]

    @property
    def _handles(self) -> list[Any]:
        states = [state.handle for state in self._states]
        return [*states, *tf.nest.flatten(self._optimizer.handles)]

    def _trace_train(self) -> Any:
        arrays, kept, handles = len(self._signature), len(self._states), self._optimizer.handles

        def train(*inputs: Any) -> tuple[Any, Any]:
            rate, seed, weight_decay, *rest = inputs[arrays:]
            own = tf.nest.pack_sequence_as(handles, rest[kept:])
            step = partial(self._step, own, rest[:kept], Dropout(rate, seed), weight_decay)
            return _loop(step, *inputs[:arrays])

        signature = [
            *self._signature,
            *[tf.TensorSpec((), number.dtype) for number in self._numbers],
            *[tf.TensorSpec((), tf.resource)] * len(self._handles),
        ]
        return tf.function(train, signature, autograph=False).get_concrete_function()

    def _trace_logits(self) -> Any:
        form, arrays = self._form.scored, len(self._scored_signature)

        def logits(*inputs: Any) -> tuple[Any]:
            return (Stack(form, _values(form, inputs[arrays:])).scored(*inputs[:arrays]),)

        handles = [tf.TensorSpec((), tf.resource)] * len(form.axes)
        signature = [*self._scored_signature, *handles]
        return tf.function(logits, signature, autograph=False).get_concrete_function()

    def _trace_stream(self) -> Any:
        form = self._form.streamed
        count = 2 * form.layers

        def stream(codes: Any, places: Any, *inputs: Any) -> list[Any]:
            stack = Stack(form, _values(form, inputs[count:]))
            logits, after = stack.streamed(tf.transpose(codes), places, _pairs(inputs[:count]))
            return [logits, *tf.nest.flatten(after)]

        signature = [
            tf.TensorSpec((None, None), tf.int32),
            tf.TensorSpec((None,), tf.int64),
            *[tf.TensorSpec((None, None), tf.float32)] * count,
            *[tf.TensorSpec((), tf.resource)] * len(form.axes),
        ]
        return tf.function(stream, signature, autograph=False).get_concrete_function()

    def _passed(
        self, stack: Stack, states: Sequence[Any], dropout: Dropout, arrays: Sequence[Any]
    ) -> tuple[Any, Gradients, Any, Any]:
        """Logits of a step, their backward pass, targets and their weights."""
        form, lengths = self._form, None
        windows, bound, *goes_on = arrays
        windows = tf.transpose(windows)  # [time + 1, batch]
        targets, shares = _targets(windows, bound, form.every_step, form.carried)
        before = _pairs([_value(handle, 2) * goes_on[0][:, None] for handle in states])
        if form.carried:
            # what follows the targets of a window fills it up; a row that is done has none
            lengths = tf.maximum(bound, 1)
        sample = Sample(tf.reshape(targets, (-1,)), dropout.seed) if form.sampled else None
        logits, gradients, after = stack.trained(
            windows[:-1], dropout if form.dropout else None, before, lengths, sample
        )
        if sample:  # the first of the symbols is the true one
            targets = tf.zeros_like(targets)
        for handle, value in zip(states, tf.nest.flatten(after), strict=False):
            tf.raw_ops.AssignVariableOp(resource=handle, value=value)
        return logits, gradients, targets, shares

    def _step(
        self,
        handles: Handles,
        states: Sequence[Any],
        dropout: Dropout,
        weight_decay: Any,
        *arrays: Any,
    ) -> tuple[Any, Any]:
        """Take a step of the optimizer; the mean loss and the weight of the targets."""
        if self._form.dropout or self._form.sampled:
            iteration = tf.raw_ops.ReadVariableOp(resource=handles.iterations, dtype=tf.int64)
            dropout = dropout._replace(seed=tf.stack([dropout.seed, iteration]))
        stack = Stack(self._form, _values(self._form, handles.weights))
        logits, gradients, targets, weights = self._passed(stack, states, dropout, arrays)
        weights = tf.reshape(weights, (-1,))
        count = tf.reduce_sum(weights)
        target_losses, logit_gradients = losses(logits, tf.reshape(targets, (-1,)))
        shares = tf.math.divide_no_nan(weights, count)  # of each target in the mean loss
        self._optimizer.step(handles, gradients(logit_gradients * shares[:, None]), weight_decay)
        return tf.reduce_sum(target_losses * shares), count


class FastClassProgram(FastProgram):
    """The same for a network that predicts classes."""

    _scored_signature = tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None,), tf.int32)

    @property
    @override
    def _signature(self) -> list[Any]:
        return _of_classes()

    @override
    def _passed(
        self, stack: Stack, states: Sequence[Any], dropout: Dropout, arrays: Sequence[Any]
    ) -> tuple[Any, Gradients, Any, Any]:
        codes, lengths, time, labels, shares = arrays
        symbols, masks = tf.transpose(codes[:, :time]), dropout if self._form.dropout else None
        logits, gradients, _ = stack.trained(symbols, masks, lengths=lengths)
        return logits, gradients, labels, shares


def _arrays(steps: Any) -> tuple[Any, ...]:
    """Of sequences with classes all arrays.

    Else codes, the bound of the steps that count, and whether rows go on if the state is carried.
    """
    if isinstance(steps, ClassSteps):
        return tuple(vars(steps).values())
    if isinstance(steps, CarriedSteps):
        return steps.codes, steps.counted, steps.goes_on
    return steps.codes, steps.first


def _loop(step: Callable[..., tuple[Any, Any]], *inputs: Any) -> tuple[Any, Any]:
    """Take steps, each with one part of the inputs, whose first axis is that of steps.

    Returns mean losses and numbers of counted targets, both `[steps]`.
    """
    steps = tf.shape(inputs[0])[0]

    def body(number: Any, means: Any, counts: Any) -> tuple[Any, Any, Any]:
        mean, count = step(*[one[number] for one in inputs])
        return number + 1, means.write(number, mean), counts.write(number, count)

    results = [tf.TensorArray(tf.float32, steps, element_shape=()) for _ in range(2)]
    _, means, counts = tf.while_loop(
        lambda number, *_: number < steps, body, (tf.constant(0), *results), parallel_iterations=1
    )
    return means.stack(), counts.stack()


def _targets(windows: Any, bound: Any, every_step: bool, carried: bool) -> tuple[Any, Any]:
    """Targets in windows `<int32>[time + 1, batch]` and their weights, 1 if they count, else 0.

    Both are `[time, batch]` with `every_step`, else `[batch]`. If the state is carried, steps count
    up to `bound` of each row, else from it on.
    """
    length = tf.shape(windows)[0] - 1
    if not every_step:
        return windows[-1], tf.cast(bound < length, tf.float32)
    steps = tf.range(length)[:, None]
    return windows[1:], tf.cast(steps < bound if carried else steps >= bound, tf.float32)


def _pairs(parts: Sequence[Any]) -> list[State]:
    """The states of layers from their parts in a row."""
    return [State(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)]


def _value(handle: Any, axes: int) -> Any:
    """Read a variable; only its number of axes is known to the graph."""
    value = tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32)
    value.set_shape([None] * axes)
    return value


def _values(form: Form, handles: Sequence[Any]) -> list[Any]:
    return list(map(_value, handles, form.axes))
