"""The file of the best network: written by Keras once, then with other weights, read by Keras."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.network.network_file import NetworkFile

CONFIG = TrialConfig(layers=2, layer_size=8, sequence_length=5, dropout=0.2)
CONFIGS = {
    "uni": CONFIG,
    "bi, embedded": CONFIG.evolve(direction="bi", embedding_size=3),
    "recurrent dropout": CONFIG.evolve(recurrent_dropout=0.3, input_dropout=0.1),
}


@pytest.fixture(scope="module", autouse=True)
def prepared() -> None:
    from lstm_sweep.models import backend

    backend.prepare(gpu=False, seed=0)


class Counted:
    """A Keras model that counts how often Keras has written it."""

    def __init__(self, model: Any) -> None:
        self._model, self.saved = model, 0

    @property
    def variables(self) -> Any:
        return self._model.variables

    def save(self, path: Path) -> None:
        self.saved += 1
        self._model.save(path)


def network(config: TrialConfig) -> Any:
    from lstm_sweep.models.network import lstm

    return lstm.build(config, 7).scored


def trained(model: Any, seed: int) -> list[Any]:
    """Give a model other weights."""
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=one.shape).astype(np.float32) for one in model.get_weights()]
    model.set_weights(weights)
    return weights


def weights_in(path: Path) -> list[Any]:
    import keras

    loaded = keras.saving.load_model(path, compile=False)
    return list(loaded.get_weights())


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_keras_reads_each_file_with_its_weights(tmp_path: Path, config: TrialConfig) -> None:
    import keras

    model = network(config)
    counted, path = Counted(model), tmp_path / "best.keras"
    file = NetworkFile(counted, path)
    windows = np.arange(20, dtype=np.int32).reshape(4, 5) % 7
    for seed in range(4):
        weights = trained(model, seed)
        file.write()
        np.testing.assert_equal(weights_in(path), weights)
        loaded = keras.saving.load_model(path)
        expected = model.predict_on_batch(windows)
        np.testing.assert_array_equal(loaded.predict_on_batch(windows), expected)
    assert counted.saved == 2
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_the_file_is_what_keras_writes_but_for_its_date(tmp_path: Path) -> None:
    model = network(CONFIG)
    file = NetworkFile(model, tmp_path / "own.keras")
    for seed in range(3):
        trained(model, seed)
        file.write()
    model.save(tmp_path / "keras.keras")
    with (
        zipfile.ZipFile(tmp_path / "own.keras") as own,
        zipfile.ZipFile(tmp_path / "keras.keras") as other,
    ):
        assert own.testzip() is None
        assert own.namelist() == other.namelist()
        for name in own.namelist():
            if name == "metadata.json":
                abouts = [json.loads(one.read(name)) for one in (own, other)]
                assert abouts[0]["keras_version"] == abouts[1]["keras_version"]
            else:
                assert own.read(name) == other.read(name), name


def test_keras_writes_again_where_weights_were_the_same(tmp_path: Path) -> None:
    model = network(CONFIG)
    counted, path = Counted(model), tmp_path / "best.keras"
    file = NetworkFile(counted, path)
    for _ in range(2):
        model.set_weights([np.zeros_like(one) for one in model.get_weights()])
        file.write()
    for seed in range(3):
        weights = trained(model, seed)
        file.write()
        np.testing.assert_equal(weights_in(path), weights)
    assert counted.saved == 3, "twice some arrays of the same shape were zeros"


def test_keras_writes_what_is_trained_by_an_optimizer_of_its_own(tmp_path: Path) -> None:
    import keras

    model = network(CONFIG)
    model.compile(keras.optimizers.RMSprop(), loss="mse")
    model.optimizer.build(model.trainable_variables)
    counted, path = Counted(model), tmp_path / "best.keras"
    file = NetworkFile(counted, path)
    for seed in range(4):
        weights = trained(model, seed)
        file.write()
        np.testing.assert_equal(weights_in(path), weights)
    assert counted.saved == 4
