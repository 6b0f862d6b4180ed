"""Programs that train in a loop against steps one by one: same losses, same bits."""

from __future__ import annotations

import numpy as np
import pytest

from lstm_sweep.models.config import OPTIMIZERS, TrialConfig
from lstm_sweep.models.data.windows import StepWindows
from tests.conftest import in_full
from tests.contract.arithmetic import networks_of, programs, steps_of

pytestmark = pytest.mark.usefixtures("prepared")


@pytest.mark.parametrize("direction", ["uni", "bi"])
def test_what_was_trained_is_scored_at_once_and_settled_without_a_change(direction: str) -> None:
    config = TrialConfig(direction=direction, layer_size=50, sequence_length=5, batch_size=3)
    _, (program, networks) = programs(config, 9)
    steps = steps_of(config, 9, 4)
    windows = np.ascontiguousarray(steps.codes[0, :, :-1])
    before, begin = program.logits(windows), networks.trained.get_weights()
    program.sync()  # nothing was trained
    for left, right in zip(networks.trained.get_weights(), begin, strict=True):
        np.testing.assert_array_equal(left, right)
    program.train(steps)
    trained = program.logits(windows)
    assert (trained != before).any()
    program.sync()
    np.testing.assert_array_equal(program.logits(windows), trained)
    by_keras = networks.scored.predict_on_batch(windows)
    np.testing.assert_allclose(by_keras, trained, atol=1e-4)


@pytest.mark.parametrize(
    ("direction", "optimizer", "embedding_size"),
    # with an embedding the others differ: on TensorFlow, Keras squares the gradients that a symbol
    # has at several places one by one, and not their sum
    [
        ("bi", OPTIMIZERS[0], 0),
        ("uni", "sgd", 4),
        *in_full(("uni", OPTIMIZERS[0], 0), ("bi", "sgd", 4)),
        *in_full(("uni", "adam", 0), ("bi", "adagrad", 0)),
    ],
)
def test_steps_in_a_loop_are_those_of_train_on_batch(
    direction: str, optimizer: str, embedding_size: int
) -> None:
    config = TrialConfig(
        direction=direction, optimizer=optimizer, learning_rate=0.001, layer_size=50,
        sequence_length=7, batch_size=5, embedding_size=embedding_size,
    )  # fmt: skip
    steps = steps_of(config, 9, 4)
    (one, theirs), (other, ours) = programs(config, 9)
    losses, weights = one.train(steps)
    in_loop = other.train(steps)
    other.sync()
    np.testing.assert_allclose(in_loop[0], losses, rtol=1e-4)
    np.testing.assert_array_equal(in_loop[1], weights)
    for left, right in zip(ours.trained.weights, theirs.trained.weights, strict=True):
        np.testing.assert_allclose(left, right, atol=2e-4, err_msg=left.path)
    windows = np.ascontiguousarray(steps.codes[0, :, :-1])
    np.testing.assert_allclose(other.logits(windows), one.logits(windows), atol=2e-3)


@pytest.mark.parametrize("direction", ["uni", *in_full("bi")])
def test_how_many_steps_a_call_has_does_not_change_a_bit(direction: str) -> None:
    config = TrialConfig(
        direction=direction, dropout=0.3, layer_size=50, sequence_length=6, batch_size=4
    )
    steps = steps_of(config, 9, 6)
    results = []
    for sizes in ([6], [1, 2, 3], [1] * 6):
        _, (program, networks) = programs(config, 9)
        begin, losses = 0, list[float]()
        for size in sizes:
            part = StepWindows(steps.codes[begin : begin + size], steps.first[begin : begin + size])
            losses += program.train(part)[0].tolist()
            begin += size
        program.sync()
        results.append((losses, networks.trained.get_weights()))
    for losses, weights in results[1:]:
        assert losses == results[0][0]
        for left, right in zip(weights, results[0][1], strict=True):
            np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(
    ("precision", "direction"), [("bfloat16", "uni"), *in_full(("float16", "bi"))]
)
def test_layers_of_keras_train_in_reduced_precision_and_score_in_full(
    precision: str, direction: str
) -> None:
    from lstm_sweep.models.cpu import programs
    from lstm_sweep.models.network import lstm

    config = TrialConfig(
        direction=direction, layer_size=20, sequence_length=7, batch_size=5, precision=precision,
        averaging="off",
    )  # fmt: skip
    networks = lstm.build(config, 9, mixed=True)
    lstm.compile_for_training(networks.trained, config)
    made = programs.KerasProgram(networks, config)
    steps = steps_of(config, 9, 40)
    losses, _ = made.train(StepWindows(steps.codes[[0] * 40], steps.first[[0] * 40] * 0))
    assert losses[-1] < losses[0]
    made.sync()
    layers = [layer for layer in networks.scored.layers if layer.weights]
    assert len(layers) == 3
    assert {layer.compute_dtype for layer in layers} == {"float32"}
    for left, right in zip(
        networks.scored.get_weights(), networks.trained.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(left, right)


def test_on_a_gpu_the_layers_of_keras_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is none here; what is shown is that the loop works with Keras's own layers."""
    from lstm_sweep.models import backend
    from lstm_sweep.models.network import lstm, program

    config = TrialConfig(layer_size=50, sequence_length=7, batch_size=5)
    steps = steps_of(config, 9, 3)
    losses = []
    for on_gpu in (False, True):
        monkeypatch.setattr(backend, "on_gpu", lambda answer=on_gpu: answer)
        networks = networks_of(config, 9, 2)
        lstm.compile_for_training(networks.trained, config)
        losses.append(program.program_of(networks, config, 0).train(steps)[0])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_operations_outside_of_functions_are_run_without_one() -> None:
    import tensorflow as tf
    from tensorflow.python.eager import context

    before = set(context.context().list_function_names())
    np.testing.assert_allclose(tf.math.atan2(tf.ones(3), tf.ones(3)), np.pi / 4, rtol=1e-6)
    assert set(context.context().list_function_names()) == before


@pytest.mark.parametrize("direction", ["uni", "bi"])
def test_what_was_trained_in_float16_on_a_gpu_is_scored_on_a_cpu(direction: str) -> None:
    from lstm_sweep.models.network import lstm, program

    config = TrialConfig(direction=direction, layer_size=50, sequence_length=7, precision="float16")
    networks = networks_of(config, 9, 2)
    lstm.compile_for_training(networks.trained, config)
    windows = np.random.default_rng(0).integers(0, 9, (6, 7)).astype(np.int32)
    logits = program.program_of(networks, config, 0).logits(windows)
    expected = networks.scored.predict_on_batch(windows)
    np.testing.assert_allclose(logits, expected, atol=1e-3)
