"""Dropout of symbols, for a window at a time: by our arithmetic and by Keras's layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_sweep.models.config import TrialConfig
from tests.conftest import in_full
from tests.contract.arithmetic import assert_near, dropout_of, networks_of, stack_of, steps_of

CONFIG = TrialConfig(
    layers=2, layer_size=7, sequence_length=6, batch_size=4, input_dropout=0.5, averaging="off"
)
#: symbols of an alphabet of nine
SYMBOLS = np.random.default_rng(0).integers(0, 9, (6, 4)).astype(np.int32)


@pytest.fixture(scope="module", autouse=True)
def prepared() -> None:
    from lstm_sweep.models import backend

    backend.prepare(gpu=False, seed=0)
    backend.run_operations_alone()


def read(codes: Any, alphabet: int, rate: float, iteration: int) -> Any:
    """Factors of the symbols `[time, batch]`, and what is read of them, by our arithmetic."""
    import tensorflow as tf

    from lstm_sweep.models.fast.dropout import read_symbols

    found = read_symbols(
        tf.constant(codes), tf.constant(alphabet), dropout_of(symbols=rate, iteration=iteration)
    )
    rows = found.rows_of(tf.ones((alphabet, 1)))
    return tf.gather(rows, found.symbols.codes)[..., 0].numpy(), found


@pytest.mark.parametrize("by", ["ours", "Keras"])
def test_a_window_is_read_without_a_share_of_the_alphabet(by: str) -> None:
    """A symbol is dropped wherever it stands in the window, others in each window and step."""
    import tensorflow as tf

    codes = np.random.default_rng(1).integers(0, 40, (60, 50)).astype(np.int32)
    if by == "ours":
        found = [read(codes, 40, 0.25, iteration)[0] for iteration in (7, 8)]
    else:
        from lstm_sweep.models.network.dropout import SymbolDropout

        layer = SymbolDropout(40, 0.25)
        features = tf.ones((50, 60, 1))
        found = [layer(features, codes.T, training=True).numpy()[..., 0].T for _ in range(2)]
        np.testing.assert_array_equal(layer(features, codes.T), features)
    for factors in found:
        np.testing.assert_allclose(np.unique(factors), [0, 1 / 0.75], rtol=1e-4)
        assert (factors == 0).mean() == pytest.approx(0.25, abs=0.04)
        whole = np.full((50, 40), np.nan)
        for row, column in enumerate(codes.T):
            for symbol in np.unique(column):
                (whole[row, symbol],) = np.unique(factors[column == symbol, row])
        known = ~np.isnan(whole[:-1]) & ~np.isnan(whole[1:])
        assert (whole[:-1] != whole[1:])[known].mean() == pytest.approx(2 * 0.25 * 0.75, abs=0.06)
    assert (found[0] != found[1]).mean() == pytest.approx(2 * 0.25 * 0.75, abs=0.06)


@pytest.mark.parametrize(
    "change",
    [{}, {"direction": "bi", "embedding_size": 3, "layers": 1},
     *in_full({"layer_size": 60}, {"layer_size": 128, "direction": "bi"}, {"state": "carried"},
              {"embedding_size": 3, "state": "carried"})],
    ids=str,
)  # fmt: skip
def test_logits_and_gradients_are_those_of_keras_for_features_that_are_left(
    change: dict[str, Any],
) -> None:
    import tensorflow as tf

    from lstm_sweep.models.fast.weight_layout import weight_layouts
    from lstm_sweep.models.network.dropout import SymbolDropout

    config = CONFIG.evolve(**change)
    networks = networks_of(config, 9, 3)
    factors = read(SYMBOLS, 9, 0.5, 7)[0].T
    assert set(np.unique(factors)) == {0.0, 2.0}
    stack = stack_of(networks, config)
    logits, gradients = stack.trained(tf.constant(SYMBOLS), dropout_of(symbols=0.5))
    ours = [
        layout.unpack(one.numpy())
        for one, layout in zip(gradients(2 * logits), weight_layouts(config), strict=True)
    ]

    def dropped(self: Any, features: Any, symbols: Any, training: bool = False) -> Any:
        return features * factors[..., None] if training else features

    inputs: Any = SYMBOLS.T
    if config.carried:
        inputs = [inputs, np.ones(4, np.float32), np.full(4, len(SYMBOLS))]  # all steps count
    for kept in networks.trained.non_trainable_variables:
        if len(kept.shape) == 2:  # a state that is carried
            kept.assign(tf.zeros(kept.shape))
    variables = [one.value for one in networks.trained.trainable_variables]
    with pytest.MonkeyPatch.context() as patch, tf.GradientTape() as tape:
        patch.setattr(SymbolDropout, "call", dropped)
        expected = networks.trained(inputs, training=True)
        loss = tf.reduce_sum(expected**2)
    theirs = [tf.convert_to_tensor(one).numpy() for one in tape.gradient(loss, variables)]
    if config.direction == "uni":
        expected = tf.transpose(expected, (1, 0, 2))
    assert_near(logits.numpy(), tf.reshape(expected, (-1, 9)).numpy())
    for one, other in zip(ours, theirs, strict=True):
        assert_near(one, other)
    scored = stack.scored(tf.constant(SYMBOLS.T)).numpy()
    assert_near(networks.scored(SYMBOLS.T, training=False).numpy(), scored)


def test_what_is_saved_is_plain_keras_and_reads_all_symbols(tmp_path: Path) -> None:
    import keras

    networks = networks_of(CONFIG, 9, 3)
    networks.scored.save(tmp_path / "m.keras")
    model = keras.models.load_model(tmp_path / "m.keras", safe_mode=True)
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)
    plain = networks_of(CONFIG.evolve(input_dropout=0.0), 9, 3)
    plain.scored.set_weights(model.get_weights())
    windows = steps_of(CONFIG, 9, 1).codes[0, :, :-1]
    np.testing.assert_array_equal(
        model.predict_on_batch(windows), plain.scored.predict_on_batch(windows)
    )
