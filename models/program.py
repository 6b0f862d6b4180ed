"""What is computed in one call: many training steps, or the logits of many windows.

On TensorFlow an epoch is a few calls of one traced function, whose loop needs no Python between two
steps. Another backend of Keras takes its steps one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models import backend
from models.config import TrialConfig
from models.lstm import Networks
from models.windows import Cut

Floats = NDArray[np.float32]

#: TensorFlow's name for what runs the operations of a function one after the other
ONE_THREAD = "SINGLE_THREADED_EXECUTOR"


class Program(Protocol):
    """The computations of one trial."""

    def train(self, cut: Cut) -> tuple[Floats, Floats]:
        """Take the steps of `cut`: mean loss of each in nats, and how many targets counted."""
        ...

    def logits(self, windows: NDArray[np.int32]) -> Floats:
        """Logits of the symbols after `windows`, `[windows, alphabet]`."""
        ...


def program_of(networks: Networks, config: TrialConfig, seed: int) -> Program:
    """The program of compiled networks, for the backend and the device of this process."""
    kind = Looped if backend.is_tensorflow() else Stepwise
    return kind(networks, config, seed)


class Stepwise:
    """Step by step, on any backend."""

    def __init__(self, networks: Networks, config: TrialConfig, seed: int) -> None:
        self._networks, self._every_step = networks, config.direction == "uni"

    def train(self, cut: Cut) -> tuple[Floats, Floats]:
        """See `Program`."""
        model, losses, weights = self._networks.trained, list[float](), list[float]()
        for batch in cut.batches(every_step=self._every_step):
            model.reset_metrics()
            loss = model.train_on_batch(batch.inputs, batch.targets, sample_weight=batch.weights)
            losses.append(float(loss))
            weights.append(float(batch.weights.sum()))
        return np.array(losses, np.float32), np.array(weights, np.float32)

    def logits(self, windows: NDArray[np.int32]) -> Floats:
        """See `Program`."""
        return np.asarray(self._networks.scored.predict_on_batch(windows))


class Looped:
    """A loop of TensorFlow over the steps of a cut."""

    def __init__(self, networks: Networks, config: TrialConfig, seed: int) -> None:
        import tensorflow as tf

        from models import fast_optimizer
        from models.stack import FastStack, PlainStack

        self._optimizer = networks.trained.optimizer
        self._variables = networks.trained.trainable_variables
        self._update: Callable[[list[Any]], None] = partial(
            self._optimizer.apply, trainable_variables=self._variables
        )
        self._stack: PlainStack | FastStack = PlainStack(networks, config)
        self._executor: Callable[[], AbstractContextManager[None]] = nullcontext
        if backend.own_arithmetic():
            self._stack = FastStack(networks, config, seed)
            self._update = fast_optimizer.update_of(self._optimizer, self._variables)
            # the graph leaves nothing to improve, and to look for it takes a fifth of a second
            tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
            # a worker has one thread: operations need no queue, which costs more than small ones;
            # but there the branches that scale losses would wait for ever
            if config.precision != "float16":
                self._executor = partial(tf.experimental.function_executor_type, ONE_THREAD)
        self._every_step = config.direction == "uni"
        windows = tf.TensorSpec((None, config.batch_size, config.sequence_length + 1), tf.int32)
        first = tf.TensorSpec((None, config.batch_size), tf.int32)
        self._train = tf.function(self._steps, input_signature=(windows, first), autograph=False)
        self._logits = tf.function(self._stack.scored, autograph=False)

    def train(self, cut: Cut) -> tuple[Floats, Floats]:
        """See `Program`."""
        with self._executor():
            losses, weights = self._train(cut.codes, cut.first)
        return losses.numpy(), weights.numpy()

    def logits(self, windows: NDArray[np.int32]) -> Floats:
        """See `Program`."""
        with self._executor():
            logits: Floats = self._logits(windows).numpy()
        return logits

    def _steps(self, windows: Any, first: Any) -> tuple[Any, Any]:
        import tensorflow as tf

        count = tf.shape(windows)[0]

        def step(number: Any, losses: Any, weights: Any) -> tuple[Any, Any, Any]:
            loss, weight = self._step(windows[number], first[number])
            return number + 1, losses.write(number, loss), weights.write(number, weight)

        results = [tf.TensorArray(tf.float32, count, element_shape=()) for _ in range(2)]
        _, losses, weights = tf.while_loop(
            lambda number, *_: number < count,
            step,
            (tf.constant(0), *results),
            parallel_iterations=1,
        )
        return losses.stack(), weights.stack()

    def _step(self, windows: Any, first: Any) -> tuple[Any, Any]:
        """One step on windows `<int32>[batch, time + 1]`: mean loss and number of targets."""
        import tensorflow as tf

        windows = tf.transpose(windows)  # [time + 1, batch]
        length = windows.shape[0] - 1
        if self._every_step:
            targets = windows[1:]
            counts = np.arange(length, dtype=np.int32)[:, None] >= first
        else:
            targets, counts = windows[-1], first < length
        weights = tf.cast(counts, tf.float32)
        weight = tf.reduce_sum(weights)
        with tf.GradientTape() as tape:
            logits = self._stack.trained(windows[:-1], self._optimizer.iterations.value)
            losses = self._stack.losses(logits, targets)
            loss = tf.math.divide_no_nan(tf.reduce_sum(losses * weights), weight)
            scaled = self._optimizer.scale_loss(loss)
        found = tape.gradient(scaled, [variable.value for variable in self._variables])
        # of an embedding too: of one that is not, Keras would square the parts and not their sum
        gradients = [tf.convert_to_tensor(gradient) for gradient in found]
        self._update(gradients)
        return loss, weight
