"""The fast arithmetic against that of Keras's layers: same results, same gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_sweep.models.config import OPTIMIZERS, TrialConfig
from lstm_sweep.models.data.windows import StepWindows
from tests.conftest import in_full
from tests.contract.arithmetic import (
    assert_near,
    by_both,
    configs,
    dropout_of,
    networks_of,
    programs,
    stack_of,
    steps_of,
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
    for our, their in by_both(config, 9, 0):
        assert_near(our, their)


@given(configs, st.sampled_from([2, 9, 300]), st.integers(0, 99))
@settings(max_examples=3)
def test_the_fast_arithmetic_gives_the_results_and_gradients_of_keras(
    config: TrialConfig, alphabet_size: int, seed: int
) -> None:
    for our, their in by_both(config, alphabet_size, seed):
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
    from lstm_sweep.models.cpu.optimizer import KernelVariable, weight_layouts
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


def test_a_softmax_over_drawn_symbols_is_that_over_all_if_all_are_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import tensorflow as tf

    from lstm_sweep.models.cpu import forward

    config = TrialConfig(layers=1, layer_size=6, sequence_length=20, batch_size=4, embedding_size=3)
    stack, draw = stack_of(networks_of(config, 9, 0), config), np.random.default_rng(0)
    symbols, targets = (tf.constant(draw.integers(0, 9, (20, 4)), tf.int32) for _ in range(2))
    targets = tf.reshape(targets, (-1,))

    def step(drawn: int | None, seed: int = 0) -> Any:
        monkeypatch.setattr(forward, "SAMPLED", drawn)
        sample = forward.Sample(targets, tf.constant([0, seed], tf.int64)) if drawn else None

        def run() -> Any:
            logits, gradients, _ = stack.trained(symbols, None, sample=sample)
            found = forward.losses(logits, tf.zeros_like(targets) if drawn else targets)
            return [found[0], *gradients(found[1])]

        return [one.numpy() for one in tf.function(run, autograph=False)()]

    for ours, whole in zip(step(5_000), step(None), strict=True):
        assert_near(ours, whole)
    few, others = step(3), step(3, seed=1)
    np.testing.assert_equal(step(3), few)
    assert np.abs(few[0] - others[0]).max() > 0 and few[0].mean() < step(None)[0].mean()


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
    pairs = by_both(config, 9, 0)
    scores, their_scores = pairs[-1]
    np.testing.assert_allclose(scores, their_scores, atol=1e-4)  # they are float32
    assert np.abs(np.subtract(*pairs[0])).max() > 0
    for our, their in pairs:
        left, right = our.ravel(), their.ravel()
        assert left.any() == right.any()  # of one step, that of the recurrent kernel is 0
        assert left @ right >= 0.999 * np.linalg.norm(left) * np.linalg.norm(right)


CONFIG = TrialConfig(layers=1, layer_size=8, sequence_length=5, batch_size=4, dropout=0.2)
#: of one with idle units, two layers and an embedding
LARGE = CONFIG.evolve(layers=2, layer_size=128, embedding_size=3, direction="bi")


def repeated(steps: StepWindows, count: int) -> StepWindows:
    chosen = np.arange(count) % len(steps.codes)
    return StepWindows(steps.codes[chosen], steps.first[chosen])


@pytest.mark.parametrize("config", [CONFIG, *in_full(LARGE)], ids=["small", "large"])
def test_the_average_is_that_of_the_weights_after_each_step(config: TrialConfig) -> None:
    """Also where steps are left out, and whatever is trained in one call."""
    from lstm_sweep.models.cpu import optimizer as averaging

    count = averaging.EACH_UNTIL + 2 * averaging.INTERVAL + 3
    steps = repeated(steps_of(config, 9, 5), count)
    _, (alone, one) = programs(config, 9)
    _, (in_loop, other) = programs(config, 9)
    expected = [np.zeros(weight.shape) for weight in one.trained.weights]
    for number in range(count):
        alone.train(StepWindows(steps.codes[[number]], steps.first[[number]]))
        alone.sync()
        if averaging.is_due(number + 1):
            share = averaging.share(number + 1)
            weights = one.trained.get_weights()
            expected = [e + share * (w - e) for e, w in zip(expected, weights, strict=True)]
    in_loop.train(steps)
    in_loop.sync()
    last = one.trained.get_weights()
    for place, average in enumerate(other.scored.get_weights()):
        np.testing.assert_array_equal(average, one.scored.get_weights()[place])
        np.testing.assert_allclose(average, expected[place], atol=1e-5)
        assert np.abs(average - last[place]).max() > 1e-4
    windows = np.ascontiguousarray(steps.codes[0, :, :-1])
    by_keras = other.scored.predict_on_batch(windows)
    np.testing.assert_allclose(in_loop.logits(windows), by_keras, atol=1e-4)


@pytest.mark.parametrize("precision", ["bfloat16", *in_full("float32", "float16")])
def test_layers_of_keras_are_averaged_too_and_score_in_full_precision(precision: str) -> None:
    """As on a GPU: after every step."""
    from lstm_sweep.models.cpu import optimizer as averaging
    from lstm_sweep.models.cpu import programs
    from lstm_sweep.models.network import lstm

    config = CONFIG.evolve(precision=precision)
    networks = lstm.build(config, 9, mixed=True)
    lstm.compile_for_training(networks.trained, config)
    made = programs.KerasProgram(networks, config)
    expected = networks.trained.get_weights()
    np.testing.assert_equal(networks.scored.get_weights(), expected)
    optimizer = networks.trained.optimizer
    counted = getattr(optimizer, "inner_optimizer", optimizer).iterations
    losses = list[float]()
    for _ in range(20):
        losses += made.train(repeated(steps_of(config, 9, 1), 1))[0].tolist()
        share = averaging.share_of_each(max(1, int(counted)))
        weights = networks.trained.get_weights()
        expected = [e + share * (w - e) for e, w in zip(expected, weights, strict=True)]
    made.sync()
    assert int(counted) > 0 and losses[-1] < losses[0]
    layers = [layer for layer in networks.scored.layers if layer.weights]
    assert {layer.compute_dtype for layer in layers} == {"float32"}
    for average, own in zip(networks.scored.get_weights(), expected, strict=True):
        np.testing.assert_allclose(average, own, atol=1e-5)
    assert any(
        np.abs(average - weight).max() > 1e-4
        for average, weight in zip(
            networks.scored.get_weights(), networks.trained.get_weights(), strict=True
        )
    )


def test_averages_change_no_step() -> None:
    found: list[Any] = []
    for kind in ("polynomial", "off"):
        config = CONFIG.evolve(averaging=kind)
        _, (program, networks) = programs(config, 9)
        losses, _ = program.train(repeated(steps_of(config, 9, 4), 20))
        program.sync()
        found.append([losses, *networks.trained.get_weights()])
    np.testing.assert_equal(*found)


@pytest.mark.parametrize(
    ("direction", "optimizer"),
    [
        ("bi", OPTIMIZERS[0]),
        *in_full(*zip(("uni", "bi", "uni"), OPTIMIZERS[1:], strict=True)),
    ],
)
def test_idle_units_never_get_weights(direction: str, optimizer: str) -> None:
    config = TrialConfig(
        direction=direction, optimizer=optimizer, learning_rate=0.01, dropout=0.2, layer_size=128,
        sequence_length=5, batch_size=3,
    )  # fmt: skip
    _, (program, _) = programs(config, 9)
    begin = [weight.value for weight in program._weights]
    program.train(steps_of(config, 9, 4))
    for weight, before in zip(program._weights, begin, strict=True):
        value, layout = weight.value, weight.layout
        assert np.isfinite(value).all()
        assert (value != before).any()
        np.testing.assert_array_equal(layout.pack(layout.unpack(value)), value)
