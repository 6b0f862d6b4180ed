"""The fast arithmetic against that of Keras's layers: same results, same gradients, same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.windows import StepWindows


@pytest.fixture(scope="module", autouse=True)
def prepared() -> None:
    from lstm_sweep.models import backend

    backend.prepare(gpu=False, seed=0)
    backend.run_operations_alone()


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
    return networks


def stack_of(networks: Any, config: TrialConfig) -> Any:
    """Our stack with the weights of a network."""
    import tensorflow as tf

    from lstm_sweep.models.fast.forward import Form, Stack
    from lstm_sweep.models.fast.weight_layout import weight_layouts

    weights = [
        tf.constant(layout.pack(weight))
        for weight, layout in zip(
            networks.trained.get_weights(), weight_layouts(config), strict=True
        )
    ]
    return Stack(Form.of(config, networks.scored.output_shape[-1]), weights)


def by_both(config: TrialConfig, alphabet_size: int, seed: int) -> Any:
    """Logits, gradients of a loss, and logits for scoring; by Keras's layers and by ours."""
    import tensorflow as tf

    from lstm_sweep.models.fast.weight_layout import weight_layouts

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
        return logits, gradients, networks.scored(tf.transpose(symbols))

    stack = stack_of(networks, config)

    def ours() -> Any:
        logits, gradients = stack.trained(symbols, None)
        return logits, gradients(2 * logits * factors), stack.scored(tf.transpose(symbols))

    logits, gradients, scored = tf.function(ours, autograph=False)()
    unpacked = []
    for one, layout in zip(gradients, weight_layouts(config), strict=True):
        unpacked.append(layout.unpack(one.numpy()))
        np.testing.assert_array_equal(layout.pack(unpacked[-1]), one)  # of idle units: 0
    return [tf.function(theirs, autograph=False)(), (logits, unpacked, scored)]


def flat(results: Any) -> list[Any]:
    logits, gradients, scored = results
    return [np.asarray(one) for one in (logits, *gradients, scored)]


def assert_near(ours: Any, theirs: Any) -> None:
    """Equal to rounding, relative to the largest number of the array."""
    scale = max(float(np.abs(theirs).max()), 1e-6)
    np.testing.assert_allclose(ours / scale, theirs / scale, atol=1e-4)


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
    ]
]  # fmt: skip


@pytest.mark.parametrize("config", EDGES, ids=str)
def test_so_it_does_at_the_edges(config: TrialConfig) -> None:
    theirs, ours = by_both(config, 9, 0)
    for our, their in zip(flat(ours), flat(theirs), strict=True):
        assert our.shape == their.shape
        assert_near(our, their)


@given(configs, st.sampled_from([2, 9, 300]), st.integers(0, 99))
@settings(max_examples=5)
def test_the_fast_arithmetic_gives_the_results_and_gradients_of_keras(
    config: TrialConfig, alphabet_size: int, seed: int
) -> None:
    theirs, ours = by_both(config, alphabet_size, seed)
    for our, their in zip(flat(ours), flat(theirs), strict=True):
        assert our.shape == their.shape
        assert_near(our, their)


@pytest.mark.parametrize(
    ("direction", "embedding_size", "layer_size"),
    [("uni", 0, 128), ("uni", 3, 192), ("bi", 0, 192), ("bi", 3, 128)],
)
def test_idle_units_change_no_result_and_no_gradient(
    direction: str, embedding_size: int, layer_size: int
) -> None:
    from lstm_sweep.models.fast.weight_layout import idle_units

    config = TrialConfig(
        direction=direction, embedding_size=embedding_size, layers=2, layer_size=layer_size,
        sequence_length=6, batch_size=3,
    )  # fmt: skip
    assert idle_units(layer_size) > 0
    assert idle_units(100) == 0
    theirs, ours = by_both(config, 9, 1)
    for our, their in zip(flat(ours), flat(theirs), strict=True):
        assert our.shape == their.shape
        assert_near(our, their)


@given(
    st.integers(1, 2),
    st.integers(0, 2),
    st.booleans(),
    st.sampled_from([0, 4]),
    st.integers(1, 5),
    st.integers(1, 5),
    st.sampled_from([0.0, 7.0]),
)
def test_a_packed_weight_is_unpacked_as_it_was(
    axes: int, blocks: int, gates: bool, idle: int, rows: int, columns: int, idle_value: float
) -> None:
    from lstm_sweep.models.fast.weight_layout import WeightLayout

    layout = WeightLayout(axes, blocks if axes == 2 else 0, gates, idle)
    shape = (rows * max(layout.rows, 1), columns * (4 if gates else 1))
    array = np.random.default_rng(0).normal(size=shape[2 - axes :])
    packed = layout.pack(array, idle_value)
    assert packed.ndim == axes
    assert packed.size - array.size == (packed == idle_value).sum()
    np.testing.assert_array_equal(layout.unpack(packed), array)


def test_gates_of_tensorflow_stand_in_another_order_and_idle_units_after_each_of_them() -> None:
    from lstm_sweep.models.fast.weight_layout import WeightLayout

    kernel = np.array([[10, 20, 30, 40], [11, 21, 31, 41]])  # input, forget, candidate, output
    packed = WeightLayout(2, rows=1, gates=True, idle=1).pack(kernel)
    assert packed.tolist() == [
        [10, 0, 30, 0, 20, 0, 40, 0],
        [11, 0, 31, 0, 21, 0, 41, 0],
        [0] * 8,
    ]
    two_ways = WeightLayout(2, rows=2, idle=1).pack(np.array([[1], [2]]))
    assert two_ways.tolist() == [[1], [0], [2], [0]]


@pytest.mark.parametrize("direction", ["uni", "bi"])
@pytest.mark.parametrize("optimizer", ["rmsprop", "adam", "adagrad", "sgd"])
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


def test_twins_of_one_shape_are_two_variables() -> None:
    import keras

    from lstm_sweep.models.fast.weight_layout import KernelVariable, WeightLayout

    one, other = (KernelVariable(keras.Variable([value]), WeightLayout(1)) for value in (1.0, 2.0))
    assert one.value.tolist() == [1] and other.value.tolist() == [2]
    other.variable.assign([3.0])
    other.sync()
    assert np.array(other.variable).tolist() == [2]


@pytest.mark.parametrize("layer_size", [4, 128])
@pytest.mark.parametrize("optimizer", ["rmsprop", "adam", "adagrad", "sgd"])
def test_an_optimizer_takes_the_steps_of_keras(optimizer: str, layer_size: int) -> None:
    """Its variables too, with gradients that are clipped and others that are not."""
    import tensorflow as tf

    from lstm_sweep.models.fast import optimizer as fast_optimizer
    from lstm_sweep.models.fast.weight_layout import KernelVariable, weight_layouts
    from lstm_sweep.models.network import lstm

    config = TrialConfig(
        optimizer=optimizer, learning_rate=0.01, layers=1, layer_size=layer_size, sequence_length=2
    )
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
        fast.step(fast.handles, packed)
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

    from lstm_sweep.models.fast import optimizer as fast_optimizer

    rng = np.random.default_rng(0)
    short, long = (tf.constant(rng.normal(size=(30, 7)), tf.float32) * by for by in (0.1, 9.0))
    left, scaled = fast_optimizer._clipped([short, long], 5.0)
    np.testing.assert_array_equal(left, short)
    assert np.linalg.norm(scaled) == pytest.approx(5, rel=1e-5)
    np.testing.assert_allclose(
        scaled / np.linalg.norm(scaled), long / np.linalg.norm(long), rtol=1e-4
    )


def test_losses_and_their_gradients_are_those_of_tensorflow() -> None:
    import tensorflow as tf

    from lstm_sweep.models.fast import forward

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

    from lstm_sweep.models.fast.forward import Dropout

    config = TrialConfig(dropout=0.25, layers=1, layer_size=50, sequence_length=20, batch_size=40)
    networks = networks_of(config, 9, 0)
    networks.trained.get_layer("logits").kernel.assign(np.eye(50, 9))
    networks.trained.get_layer("logits").bias.assign(np.zeros(9))
    symbols = tf.ones((20, 40), tf.int32)
    stack = stack_of(networks, config)

    def trained(iteration: int) -> Any:
        seed = tf.constant([0, iteration], tf.int64)
        return stack.trained(symbols, Dropout(tf.constant(0.25), seed))[0].numpy()

    whole = stack.trained(symbols, None)[0].numpy()
    scored = stack.scored(tf.transpose(symbols)).numpy()
    np.testing.assert_allclose(scored, whole[-40:], rtol=1e-5, atol=1e-7)
    dropped = trained(7)
    left = dropped != 0
    assert left.mean() == pytest.approx(0.75, abs=0.02)
    np.testing.assert_allclose(dropped[left], whole[left] / 0.75, rtol=1e-5)
    assert (left != (trained(8) != 0)).any()
    np.testing.assert_array_equal(trained(7), dropped)


def test_each_layer_draws_what_it_drops_by_itself() -> None:
    import tensorflow as tf

    from lstm_sweep.models.fast.forward import Dropout, _dropped

    features = tf.ones((3, 3, 5))  # an odd number
    dropout = Dropout(tf.constant(0.5), tf.constant([64, 1], tf.int64))
    (first, back), (second, _) = (_dropped(features, dropout, number) for number in (1, 2))
    assert (first != second).numpy().any()
    assert set(np.unique(first)) == {0.0, 2.0}
    np.testing.assert_array_equal(back(3 * features)[0], 3 * first)


@pytest.mark.parametrize("rate", [1e-6, 0.1, 0.99])
def test_what_is_left_makes_up_for_what_is_dropped(rate: float) -> None:
    import tensorflow as tf

    from lstm_sweep.models.fast.forward import Dropout, _dropped

    dropout = Dropout(tf.constant(rate), tf.constant([64, 1], tf.int64))
    found = _dropped(tf.ones((200, 100, 501)), dropout, 1)[0].numpy()
    assert (found == 0).mean() == pytest.approx(rate, abs=0.0005)
    assert found.mean(dtype=float) == pytest.approx(1, abs=5 * (rate / (1 - rate) / 1e7) ** 0.5)


def steps_of(config: TrialConfig, alphabet_size: int, steps: int) -> StepWindows:
    rng = np.random.default_rng(1)
    shape = (steps, config.batch_size)
    codes = rng.integers(0, alphabet_size, (*shape, config.sequence_length + 1))
    first = rng.integers(0, config.sequence_length + 1, shape)
    return StepWindows(codes.astype("int32"), first.astype("int32"))


def programs(config: TrialConfig, alphabet_size: int) -> list[Any]:
    """A program step by step, and one in a loop, of networks with the same weights."""
    from lstm_sweep.models.network import lstm, program

    one, other = (networks_of(config, alphabet_size, 2) for _ in range(2))
    for networks in (one, other):
        lstm.compile_for_training(networks.trained, config)
    in_loop = program.program_of(other, config, 0)
    return [(program.StepwiseProgram(one, config), one), (in_loop, other)]


@pytest.mark.parametrize("direction", ["uni", "bi"])
@pytest.mark.parametrize(
    ("optimizer", "embedding_size"),
    # with an embedding the others differ: on TensorFlow, Keras squares the gradients that a symbol
    # has at several places one by one, and not their sum
    [("rmsprop", 0), ("adam", 0), ("adagrad", 0), ("sgd", 0), ("sgd", 4)],
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


@pytest.mark.parametrize("direction", ["uni", "bi"])
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


@pytest.mark.parametrize("direction", ["uni", "bi"])
@pytest.mark.parametrize(
    ("embedding_size", "size", "length"), [(0, 50, 9), (4, 50, 9), (0, 128, 8), (4, 20, 1)]
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


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("direction", ["uni", "bi"])
def test_layers_of_keras_train_in_reduced_precision_and_score_in_full(
    precision: str, direction: str
) -> None:
    from lstm_sweep.models.fast import training_loop
    from lstm_sweep.models.network import lstm

    config = TrialConfig(
        direction=direction, layer_size=20, sequence_length=7, batch_size=5, precision=precision
    )
    networks = lstm.build(config, 9, mixed=True)
    lstm.compile_for_training(networks.trained, config)
    made = training_loop.KerasProgram(networks, config)
    steps = steps_of(config, 9, 40)
    losses, _ = made.train(StepWindows(steps.codes[[0] * 40], steps.first[[0] * 40] * 0))
    assert losses[-1] < losses[0]
    made.sync()
    layers = [layer for layer in networks.scored.layers if layer.weights]
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


def test_an_optimizer_without_a_kernel_is_refused() -> None:
    import keras

    from lstm_sweep.models.fast import optimizer as fast_optimizer

    scaling = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))
    with pytest.raises(ValueError, match="LossScaleOptimizer"):
        fast_optimizer.FastOptimizer(scaling, [])
