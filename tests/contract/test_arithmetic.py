"""The fast arithmetic against that of Keras's layers: same results, same gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_sweep.models.config import OPTIMIZERS, TrialConfig
from tests.conftest import in_full
from tests.contract.arithmetic import (
    assert_near,
    by_both,
    configs,
    dropout_of,
    flat,
    networks_of,
    stack_of,
)

pytestmark = pytest.mark.usefixtures("prepared")


#: all kernels of both passes, in windows of one step, of an even and of an odd number
EDGES = [
    TrialConfig(
        direction=direction, layers=layers, layer_size=size, sequence_length=length,
        batch_size=batch, embedding_size=embedding_size,
    )
    for direction, layers, size, length, batch, embedding_size in [
        ("uni", 1, 3, 1, 1, 0),
        ("bi", 2, 3, 1, 2, 3),
        ("bi", 1, 50, 1, 1, 0),
        ("bi", 2, 50, 3, 1, 0),
        ("bi", 3, 20, 4, 2, 0),
        ("uni", 2, 60, 2, 1, 3),
        # computed with idle units
        ("uni", 2, 192, 6, 3, 3),
        ("bi", 2, 192, 6, 3, 0),
        ("uni", 2, 128, 6, 3, 0),
        ("bi", 2, 128, 6, 3, 3),
    ]
]  # fmt: skip


@pytest.mark.parametrize(
    "config", [EDGES[0], EDGES[-4], *in_full(*EDGES[1:-4], *EDGES[-3:])], ids=str
)
def test_so_it_does_at_the_edges(config: TrialConfig) -> None:
    theirs, ours = by_both(config, 9, 0)
    for our, their in zip(flat(ours), flat(theirs), strict=True):
        assert our.shape == their.shape
        assert_near(our, their)


@given(configs, st.sampled_from([2, 9, 300]), st.integers(0, 99))
@settings(max_examples=3)
def test_the_fast_arithmetic_gives_the_results_and_gradients_of_keras(
    config: TrialConfig, alphabet_size: int, seed: int
) -> None:
    theirs, ours = by_both(config, alphabet_size, seed)
    for our, their in zip(flat(ours), flat(theirs), strict=True):
        assert our.shape == their.shape
        assert_near(our, their)


@pytest.mark.parametrize(
    ("layer_size", "weight_decay"), [(4, 0.0), (4, 3.0), (128, 3.0), (128, 0.0)]
)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_optimizer_takes_the_steps_of_keras(
    optimizer: str, layer_size: int, weight_decay: float
) -> None:
    """Its variables too, with gradients that are clipped and others that are not."""
    import tensorflow as tf

    from lstm_sweep.models.cpu import optimizer as fast_optimizer
    from lstm_sweep.models.cpu.weight_layout import KernelVariable, weight_layouts
    from lstm_sweep.models.network import lstm

    config = TrialConfig(
        optimizer=optimizer, learning_rate=0.01, layers=1, layer_size=layer_size,
        sequence_length=2, weight_decay=weight_decay, averaging="off",
    )  # fmt: skip
    pair = [networks_of(config, 5, 0) for _ in range(2)]
    ours, theirs = (networks.trained for networks in pair)
    for network in (ours, theirs):
        lstm.compile_for_training(network, config)
    weights = [
        KernelVariable(*one)
        for one in zip(ours.trainable_variables, weight_layouts(config), strict=True)
    ]
    fast = fast_optimizer.FastOptimizer(ours.optimizer, weights)
    rng = np.random.default_rng(0)
    for scale in (1e-3, 0.1, 30.0, 1.0, 0.0):
        gradients = [
            tf.constant(rng.normal(size=weight.shape, scale=scale), tf.float32)
            for weight in ours.trainable_variables
        ]
        packed = [
            tf.constant(weight.layout.pack(gradient.numpy()))
            for weight, gradient in zip(weights, gradients, strict=True)
        ]
        fast.step(fast.handles, packed, tf.constant(weight_decay))
        theirs.optimizer.apply(gradients, theirs.trainable_variables)
    fast.sync()
    for weight in weights:
        weight.sync()
    assert int(ours.optimizer.iterations) == 5
    pairs = [(ours.weights, theirs.weights), (ours.optimizer.variables, theirs.optimizer.variables)]
    for left, right in [pair for both in pairs for pair in zip(*both, strict=True)]:
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-6, err_msg=left.path)
    start = networks_of(config, 5, 0).trained.get_weights()
    assert all(
        np.abs(now - before).max() > 0
        for now, before in zip(ours.get_weights(), start, strict=True)
    )


def test_only_gradients_that_are_too_long_are_scaled() -> None:
    import tensorflow as tf

    from lstm_sweep.models.cpu import optimizer as fast_optimizer

    rng = np.random.default_rng(0)
    short, long = (tf.constant(rng.normal(size=(30, 7)), tf.float32) * by for by in (0.1, 9.0))
    np.testing.assert_array_equal(fast_optimizer.clipped([short], 5.0), [short])
    scaled = fast_optimizer.clipped([short, long], 5.0)
    assert np.linalg.norm(np.ravel(scaled)) == pytest.approx(5, rel=1e-5)
    np.testing.assert_allclose(scaled[0] / scaled[1], short / long, rtol=1e-4)


def test_losses_and_their_gradients_are_those_of_tensorflow() -> None:
    import tensorflow as tf

    from lstm_sweep.models.cpu import forward

    rng = np.random.default_rng(0)
    logits = tf.constant(rng.normal(size=(12, 5), scale=3), tf.float32)
    targets = tf.constant(rng.integers(0, 5, 12), tf.int32)
    factors = tf.constant(rng.normal(size=12), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        theirs = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    found, gradients = forward.losses(logits, targets)
    np.testing.assert_allclose(found, theirs, rtol=1e-5, atol=1e-6)
    expected = tape.gradient(theirs, logits, factors)
    np.testing.assert_allclose(gradients * factors[:, None], expected, rtol=1e-5, atol=1e-6)


def test_with_dropout_as_many_are_left_as_keras_leaves_and_none_when_scored() -> None:
    import tensorflow as tf

    config = TrialConfig(dropout=0.25, layers=1, layer_size=50, sequence_length=20, batch_size=40)
    networks = networks_of(config, 9, 0)
    networks.trained.get_layer("logits").kernel.assign(np.eye(50, 9))
    networks.trained.get_layer("logits").bias.assign(np.zeros(9))
    symbols = tf.ones((20, 40), tf.int32)
    stack = stack_of(networks, config)

    def trained(iteration: int) -> Any:
        return stack.trained(symbols, dropout_of(0.25, iteration=iteration))[0].numpy()

    whole = stack.trained(symbols, None)[0].numpy()
    scored = stack.scored(tf.transpose(symbols)).numpy()
    np.testing.assert_allclose(scored, whole[-40:], rtol=1e-5, atol=1e-7)
    dropped = trained(7)
    left = dropped != 0
    assert left.mean() == pytest.approx(0.75, abs=0.02)
    np.testing.assert_allclose(dropped[left], whole[left] / 0.75, rtol=1e-5)
    assert (left != (trained(8) != 0)).any()
    np.testing.assert_array_equal(trained(7), dropped)


@pytest.mark.parametrize("rate", [1e-6, 0.1, 0.99])
def test_what_is_left_makes_up_for_what_is_dropped(rate: float) -> None:
    import tensorflow as tf

    from lstm_sweep.models.cpu.forward import dropped

    found = dropped(tf.ones((200, 100, 501)), dropout_of(rate), 1)[0].numpy()
    assert (found == 0).mean() == pytest.approx(rate, abs=0.0005)
    assert found.mean(dtype=float) == pytest.approx(1, abs=5 * (rate / (1 - rate) / 1e7) ** 0.5)


@pytest.mark.parametrize(
    ("direction", "embedding_size", "size", "length"),
    [("bi", 4, 50, 9), *in_full(("uni", 0, 50, 9), ("bi", 0, 128, 8), ("uni", 4, 20, 1))],
)
def test_in_reduced_precision_gradients_point_the_same_way(
    direction: str, embedding_size: int, size: int, length: int
) -> None:
    config = TrialConfig(
        direction=direction, layer_size=size, sequence_length=length, batch_size=5,
        embedding_size=embedding_size, precision="bfloat16",
    )  # fmt: skip
    theirs, ours = by_both(config, 9, 0)
    np.testing.assert_allclose(ours[2], theirs[2], atol=1e-4)  # scores are float32
    assert np.abs(ours[0] - theirs[0]).max() > 0
    for our, their in zip(flat(ours), flat(theirs), strict=True):
        left, right = our.ravel(), their.ravel()
        assert left.any() == right.any()  # of one step, that of the recurrent kernel is 0
        assert left @ right >= 0.999 * np.linalg.norm(left) * np.linalg.norm(right)
