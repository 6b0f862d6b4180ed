"""Networks, steps and programs by the fast arithmetic and by Keras's layers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.data.windows import StepWindows

#: graphs of programs, so that those of one form are traced once
GRAPHS = tempfile.TemporaryDirectory(prefix="graphs-")
#: layers below and above the size from which on the backward pass is another, and one that is
#: computed with idle units
sizes = st.sampled_from([1, 3, 16, 48, 49, 64, 128])
configs = st.builds(
    TrialConfig,
    direction=st.sampled_from(["uni", "bi"]),
    layers=st.integers(1, 3),
    layer_size=sizes,
    sequence_length=st.integers(1, 13),
    batch_size=st.integers(1, 6),
    embedding_size=st.sampled_from([0, 0, 3]),
)


def networks_of(config: TrialConfig, alphabet_size: int, seed: int) -> Any:
    """Networks with weights as large as those of a trained one."""
    from lstm_sweep.models.network import lstm

    networks = lstm.build(config, alphabet_size)
    rng = np.random.default_rng(seed)
    for weight in networks.trained.weights:
        weight.assign(rng.normal(size=weight.shape, scale=0.4))
    networks.copy_weights()
    return networks


def stack_of(networks: Any, config: TrialConfig) -> Any:
    """Our stack with the weights of a network."""
    import tensorflow as tf

    from lstm_sweep.models.cpu.forward import Form, Stack
    from lstm_sweep.models.cpu.optimizer import weight_layouts

    weights = [
        tf.constant(layout.pack(weight.numpy()))
        for weight, layout in zip(
            networks.trained.trainable_variables, weight_layouts(config), strict=True
        )
    ]
    return Stack(Form.of(config, networks.scored.output_shape[-1]), weights)


def dropout_of(rate: float = 0.0, iteration: int = 7) -> Any:
    """Dropout of a training step, of our arithmetic."""
    import tensorflow as tf

    from lstm_sweep.models.cpu.forward import Dropout

    return Dropout(tf.constant(rate), tf.constant([64, iteration], tf.int64))


def by_both(config: TrialConfig, alphabet_size: int, seed: int) -> list[Any]:
    """Logits, gradients of a loss, and logits for scoring; each by us and by Keras's layers."""
    import tensorflow as tf

    from lstm_sweep.models.cpu.optimizer import weight_layouts

    networks = networks_of(config, alphabet_size, seed)
    rng = np.random.default_rng(seed)
    shape = (config.sequence_length, config.batch_size)
    symbols = tf.constant(rng.integers(0, alphabet_size, shape), tf.int32)
    factors = tf.range(1.0, alphabet_size + 1)  # of the squares of logits, whose sum is the loss

    def theirs() -> Any:
        variables = [variable.value for variable in networks.trained.trainable_variables]
        with tf.GradientTape() as tape:
            logits = networks.trained(tf.transpose(symbols), training=True)
            if config.direction == "uni":
                logits = tf.transpose(logits, (1, 0, 2))
            logits = tf.reshape(logits, (-1, alphabet_size))
            loss = tf.reduce_sum(logits**2 * factors)
        gradients = [tf.convert_to_tensor(one) for one in tape.gradient(loss, variables)]
        return [logits, *gradients, networks.scored(tf.transpose(symbols))]

    stack = stack_of(networks, config)

    def ours() -> Any:
        logits, gradients, _ = stack.trained(symbols, None)
        return logits, gradients(2 * logits * factors), stack.scored(tf.transpose(symbols))

    logits, gradients, scored = tf.function(ours, autograph=False)()
    unpacked = []
    for one, layout in zip(gradients, weight_layouts(config), strict=True):
        unpacked.append(layout.unpack(one.numpy()))
        np.testing.assert_array_equal(layout.pack(unpacked[-1]), one)  # of idle units: 0
    pairs = zip([logits, *unpacked, scored], tf.function(theirs, autograph=False)(), strict=True)
    return [(np.asarray(our), np.asarray(their)) for our, their in pairs]


def assert_near(ours: Any, theirs: Any) -> None:
    """Equal to rounding, relative to the largest number of the array."""
    assert ours.shape == theirs.shape
    scale = max(float(np.abs(theirs).max()), 1e-6)
    np.testing.assert_allclose(ours / scale, theirs / scale, atol=1e-4)


def steps_of(config: TrialConfig, alphabet_size: int, steps: int) -> StepWindows:
    rng = np.random.default_rng(1)
    shape = (steps, config.batch_size)
    codes = rng.integers(0, alphabet_size, (*shape, config.sequence_length + 1))
    first = rng.integers(0, config.sequence_length + 1, shape)
    return StepWindows(codes.astype("int32"), first.astype("int32"))


def programs(config: TrialConfig, alphabet_size: int) -> list[Any]:
    """A program step by step, and one in a loop, of networks with the same weights."""
    from lstm_sweep.models.cpu import programs as kinds
    from lstm_sweep.models.network import lstm, program

    one, other = (networks_of(config, alphabet_size, 2) for _ in range(2))
    for networks in (one, other):
        lstm.compile_for_training(networks.trained, config)
    in_loop = program.program_of(other, config, 0, Path(GRAPHS.name))
    return [(kinds.StepwiseProgram(one, config), one), (in_loop, other)]


def best_loss(config: TrialConfig, corpus: Corpus, weights: Path) -> float:
    """The lowest validation loss of a training, scored on all symbols."""
    from lstm_sweep.models import backend
    from lstm_sweep.models.network import training
    from lstm_sweep.models.rounds import RoundDone

    backend.prepare(gpu=False, seed=1)
    targets = np.arange(len(corpus.validation))
    events = training.Training(config, corpus, targets, 1, weights).events()
    return min(one.metrics["val_loss"] for one in events if isinstance(one, RoundDone))
