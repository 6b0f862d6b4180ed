"""Networks are what their configs say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lstm_sweep.models.config import TrialConfig, as_lstm_config
from lstm_sweep.models.size import parameters
from lstm_sweep.spaces import presets as spaces_lstm

TINY = TrialConfig(layers=2, layer_size=5, sequence_length=7)


@pytest.fixture(scope="module")
def build() -> Any:
    from lstm_sweep.models import backend
    from lstm_sweep.models.network import lstm

    backend.prepare(gpu=False, seed=0)  # threads are set before the first operation, or never
    return lstm.build


def test_the_closed_form_counts_parameters_as_keras_does(build: Any) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        drawn = spaces_lstm.DEFAULT.sample(rng)
        config = drawn.evolve(
            layer_size=int(rng.integers(1, 40)),
            layers=int(rng.integers(1, 4)),
            embedding_size=int(rng.choice([0, 0, 3, 17])),
            sequence_length=4,
        )
        alphabet = int(rng.integers(4, 60))
        networks = build(config, alphabet)
        assert networks.trained.count_params() == parameters(as_lstm_config(config), alphabet), (
            config
        )
        assert networks.scored.count_params() == parameters(as_lstm_config(config), alphabet), (
            config
        )


def test_a_bidirectional_network_predicts_only_what_follows_its_window(build: Any) -> None:
    networks = build(TINY.evolve(direction="bi", averaging="off"), 11)
    assert networks.trained.output_shape == (None, 11)
    assert networks.scored is networks.trained


def test_what_is_scored_is_the_last_step_of_what_is_trained(build: Any) -> None:
    networks = build(TINY, 11)
    windows = np.random.default_rng(0).integers(0, 11, (3, 7)).astype("int32")
    every_step = np.asarray(networks.trained.predict_on_batch(windows))
    scored = networks.scored.predict_on_batch(windows)
    np.testing.assert_allclose(scored, every_step[:, -1], rtol=1e-5, atol=1e-7)


def test_a_unidirectional_step_does_not_see_what_follows_it(build: Any) -> None:
    networks = build(TINY, 11)
    windows = np.random.default_rng(0).integers(0, 11, (3, 7)).astype("int32")
    changed = windows.copy()
    changed[:, 4:] = (changed[:, 4:] + 1) % 11
    before = np.asarray(networks.trained.predict_on_batch(windows))
    after = np.asarray(networks.trained.predict_on_batch(changed))
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert np.abs(before[:, 4:] - after[:, 4:]).max() > 0
