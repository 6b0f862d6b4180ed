"""Dropout with one mask a window, and of recurrent weights: by our arithmetic and by Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.windows import StepWindows
from tests.conftest import in_full
from tests.contract.arithmetic import assert_near, dropout_of, networks_of, stack_of, steps_of

CONFIG = TrialConfig(layers=1, layer_size=50, sequence_length=20, batch_size=40)
RECURRENT = TrialConfig(
    layers=2, layer_size=7, sequence_length=6, batch_size=4, recurrent_dropout=0.5,
    averaging="off", optimizer="sgd", learning_rate=0.1,
)  # fmt: skip
HALVES = (slice(0, 2), slice(2, 4))


@pytest.fixture(scope="module", autouse=True)
def prepared() -> None:
    from lstm_sweep.models import backend

    backend.prepare(gpu=False, seed=0)
    backend.run_operations_alone()


@pytest.mark.parametrize("by", ["ours", "Keras"])
@pytest.mark.parametrize("direction", ["uni", *in_full("bi")])
def test_all_steps_of_a_window_drop_the_same_outputs_of_a_layer(by: str, direction: str) -> None:
    """Other ones in each row and training step; those of a single step in the usual way."""
    import tensorflow as tf

    config = CONFIG.evolve(dropout=0.25, dropout_mask="window", direction=direction, layers=2)
    networks = networks_of(config, 9, 0)
    symbols = tf.ones((20, 40), tf.int32)
    layer = networks.trained.get_layer("dropout_1")
    features = tf.ones((40, 20, 50))
    if by == "Keras":
        found = [layer(features, training=True).numpy() for _ in range(2)]
    else:
        from lstm_sweep.models.fast.dropout import dropped

        found = [
            dropped(tf.ones((20, 40, 50)), dropout_of(0.25, iteration=one), 1, one_mask=True)[0]
            .numpy()
            .swapaxes(0, 1)
            for one in range(2)
        ]
    for one in found:
        np.testing.assert_array_equal(one, np.broadcast_to(one[:, :1], one.shape))
        assert (one[0] != one[1]).any()
        np.testing.assert_allclose(np.unique(one), [0, 1 / 0.75], rtol=1e-4)
        assert (one == 0).mean() == pytest.approx(0.25, abs=0.04)
    assert (found[0] != found[1]).any()
    stack = stack_of(networks, config)
    logits, gradients = stack.trained(symbols, dropout_of(0.25))
    other = stack.trained(symbols, dropout_of(0.25, iteration=8))[0]
    assert (logits != other).numpy().any()
    assert all(np.isfinite(one).all() for one in gradients(tf.ones_like(logits)))


def test_outputs_that_all_steps_drop_have_no_gradient_and_others_more() -> None:
    import tensorflow as tf

    from lstm_sweep.models.fast.dropout import dropped

    given = tf.reshape(tf.range(1.0, 7 * 4 * 5 + 1), (7, 4, 5))
    left, back = dropped(given, dropout_of(0.5), 3, one_mask=True)
    factors = (left / given).numpy()
    assert set(np.unique(np.round(factors, 5))) == {0.0, 2.0}
    np.testing.assert_allclose(back(given)[0], left, rtol=1e-6)


@pytest.mark.parametrize(
    ("direction", "layer_size", "state"),
    [("uni", 7, "reset"), ("bi", 60, "reset"),
     *in_full(("uni", 60, "carried"), ("uni", 128, "reset"), ("bi", 7, "reset"))],
)  # fmt: skip
def test_a_network_computes_with_the_recurrent_weights_that_are_left(
    direction: str, layer_size: int, state: str
) -> None:
    """Logits and gradients are those of Keras's layers with these weights, by both programs."""
    import tensorflow as tf

    from lstm_sweep.models.fast.weight_layout import weight_layouts

    config = RECURRENT.evolve(direction=direction, layer_size=layer_size, state=state)
    networks = networks_of(config, 9, 3)
    plain = networks_of(config.evolve(recurrent_dropout=0.0), 9, 3)
    trained = plain.trained.trainable_variables
    for one, other in zip(networks.trained.trainable_variables, trained, strict=True):
        other.assign(one)
    layouts = weight_layouts(config)
    symbols = tf.constant(np.random.default_rng(0).integers(0, 9, (6, 4)), tf.int32)
    inputs = [tf.transpose(symbols)]
    if config.carried:
        inputs += [tf.ones(4), tf.fill((4,), tf.shape(symbols)[0])]  # all steps count

    def of(model: Any) -> tuple[Any, list[Any]]:
        """Logits in the order of time, and the gradients of their squares."""
        for kept in model.non_trainable_variables:
            if len(kept.shape) == 2:
                kept.assign(tf.zeros(kept.shape))
        with tf.GradientTape() as tape:
            logits = model(inputs if config.carried else inputs[0], training=True)
            loss = tf.reduce_sum(logits**2)
        variables = [one.value for one in model.trainable_variables]
        gradients = [tf.convert_to_tensor(one).numpy() for one in tape.gradient(loss, variables)]
        if config.direction == "uni":
            logits = tf.transpose(logits, (1, 0, 2))
        return tf.reshape(logits, (-1, 9)).numpy(), gradients

    def expected(factors: list[Any]) -> tuple[Any, list[Any]]:
        for weight, value in zip(trained, recurrent(trained, factors), strict=True):
            weight.assign(value)
        logits, gradients = of(plain.trained)
        for one, other in zip(networks.trained.trainable_variables, trained, strict=True):
            other.assign(one)
        return logits, recurrent(gradients, factors)

    stack = stack_of(networks, config)
    logits, gradients = stack.trained(symbols, dropout_of(recurrent=0.5))
    unpacked = [
        layout.unpack(one.numpy())
        for one, layout in zip(gradients(2 * logits), layouts, strict=True)
    ]
    compare((logits.numpy(), unpacked), expected(our_factors(stack, layouts)))
    factors = their_factors(networks.trained)  # before they are drawn
    compare(of(networks.trained), expected(factors))
    scored = stack.scored(tf.transpose(symbols))
    assert_near(networks.scored(inputs[0], training=False).numpy(), scored.numpy())
    assert_near(plain.scored(inputs[0], training=False).numpy(), scored.numpy())


def recurrent(values: Any, factors: list[Any]) -> list[Any]:
    """Weights or gradients of a network without embedding, the recurrent ones times factors."""
    rest = iter(factors)
    last = len(values) - 2
    return [
        np.asarray(value) * (next(rest) if place % 3 == 1 and place < last else 1.0)
        for place, value in enumerate(values)
    ]


def our_factors(stack: Any, layouts: Any) -> list[Any]:
    drawn = [
        stack._recurrent_factors(cells, dropout_of(recurrent=0.5), number)
        for number, cells in enumerate(stack._layers, start=1)
    ]
    flat = [one.numpy() for layer in drawn for one in layer]
    found = [layouts[3 * place + 1].unpack(one) for place, one in enumerate(flat)]
    for place, one in enumerate(found):
        assert (one == 0).mean() == pytest.approx(0.5, abs=0.1)
        assert all((one != other).any() for other in found[:place])
    return found


def their_factors(model: Any) -> list[Any]:
    """What the layers will draw next, from copies of their seeds."""
    import keras

    found = []
    for layer in model.layers:
        if not hasattr(layer, "seeds"):
            continue
        seeds = keras.random.SeedGenerator(0)
        seeds.state.assign(layer.seeds.state)
        for kernel in layer._dropout._kernels():
            ones = np.ones(kernel.shape, np.float32)
            found.append(np.asarray(keras.random.dropout(ones, 0.5, seed=seeds)))
    return found


def compare(ours: Any, theirs: Any) -> None:
    for our, their in zip([ours[0], *ours[1]], [theirs[0], *theirs[1]], strict=True):
        assert our.shape == their.shape
        assert_near(our, their)


@pytest.mark.full
@pytest.mark.parametrize("direction", ["uni", "bi"])
def test_programs_of_keras_drop_alike_and_go_on_with_the_same_bits(direction: str) -> None:
    """Step by step, in a loop, and in a loop that was broken off."""
    from lstm_sweep.models import backend
    from lstm_sweep.models.fast.training_loop import KerasProgram
    from lstm_sweep.models.network import lstm
    from lstm_sweep.models.network.program import StepwiseProgram

    config = RECURRENT.evolve(
        direction=direction, dropout=0.3, dropout_mask="window", input_dropout=0.2
    )
    steps = steps_of(config, 9, 4)
    halves = [StepWindows(steps.codes[part], steps.first[part]) for part in HALVES]

    def fresh() -> Any:
        backend.prepare(gpu=False, seed=3)
        networks = lstm.build(config, 9)
        lstm.compile_for_training(networks.trained, config)
        return networks

    found = []
    for kind in (StepwiseProgram, KerasProgram):
        networks = fresh()
        losses = kind(networks, config).train(steps)[0]
        found.append([losses, *networks.trained.get_weights()])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)
    begun, then = fresh(), fresh()
    first = KerasProgram(begun, config).train(halves[0])[0]
    for variable, value in zip(then.trained.variables, begun.trained.variables, strict=True):
        variable.assign(value)
    second = KerasProgram(then, config).train(halves[1])[0]
    np.testing.assert_array_equal([*first, *second], found[1][0])
    for one, other in zip(then.trained.get_weights(), found[1][1:], strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_saved_is_plain_keras_and_drops_nothing_when_it_predicts(tmp_path: Path) -> None:
    import keras

    config = RECURRENT.evolve(dropout=0.3, dropout_mask="window", direction="bi")
    networks = networks_of(config, 9, 3)
    networks.scored.save(tmp_path / "m.keras")
    model = keras.models.load_model(tmp_path / "m.keras", safe_mode=True)
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)
    windows = steps_of(config, 9, 1).codes[0, :, :-1]
    plain = networks_of(config.evolve(recurrent_dropout=0.0, dropout=0.0), 9, 3)
    plain.scored.set_weights(model.get_weights())
    np.testing.assert_array_equal(
        model.predict_on_batch(windows), plain.scored.predict_on_batch(windows)
    )
