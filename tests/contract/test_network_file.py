"""The file of the best network: written by Keras once, then with other weights, read by Keras."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.data.windows import scoring_targets
from lstm_sweep.models.network import lstm, training
from lstm_sweep.models.network.checkpoint import CheckpointSettings, NetworkFile, keep_reported
from lstm_sweep.models.network.evaluation import evaluate
from lstm_sweep.models.network.program import predictor_of, program_of
from lstm_sweep.models.rounds import Round

CONFIG = TrialConfig(layers=2, layer_size=8, sequence_length=5, dropout=0.2)
CONFIGS = {
    "uni": CONFIG,
    "bi, embedded": CONFIG.evolve(direction="bi", embedding_size=3),
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
        file.write(seed)
        file.confirm()
        np.testing.assert_equal(weights_in(path), weights)
        loaded = keras.saving.load_model(path)
        expected = model.predict_on_batch(windows)
        np.testing.assert_array_equal(loaded.predict_on_batch(windows), expected)
    assert counted.saved == 2
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_keras_writes_again_where_weights_were_the_same(tmp_path: Path) -> None:
    model = network(CONFIG)
    counted, path = Counted(model), tmp_path / "best.keras"
    file = NetworkFile(counted, path)
    for _ in range(2):
        model.set_weights([np.zeros_like(one) for one in model.get_weights()])
        file.write(0)
    for seed in range(3):
        weights = trained(model, seed)
        file.write(seed)
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
        file.write(seed)
        np.testing.assert_equal(weights_in(path), weights)
    assert counted.saved == 4


def test_the_file_is_that_of_the_last_round_that_was_reported(tmp_path: Path) -> None:
    model, path = network(CONFIG), tmp_path / "best.keras"
    file = NetworkFile(model, path)
    trained(model, 0)
    file.write(1)
    keep_reported(path, 0)
    assert list(tmp_path.iterdir()) == [], "nobody has heard of its first round"
    first = trained(model, 1)
    file.write(1)
    keep_reported(path, 1)
    np.testing.assert_equal(weights_in(path), first)
    second = trained(model, 2)
    file.write(4)
    keep_reported(path, 3)
    np.testing.assert_equal(weights_in(path), first)
    trained(model, 2)
    file.write(4)
    keep_reported(path, 4)
    np.testing.assert_equal(weights_in(path), second)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("killed", ["checkpoint", "network"])
def test_a_training_that_is_killed_before_it_reports_leaves_the_network_of_its_best_loss(
    killed: str, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrialConfig(layers=1, layer_size=8, sequence_length=8, batch_size=32, epochs=6)
    targets, path = scoring_targets(corpus.validation, 200, 0), tmp_path / "best.keras"
    owner: Any = training._Checkpointer if killed == "checkpoint" else NetworkFile
    name = "note_round" if killed == "checkpoint" else "write"
    method, calls = getattr(owner, name), itertools.count(1)

    def die(self: Any, *arguments: Any) -> Any:
        done = method(self, *arguments)
        if next(calls) == 3:
            raise SystemExit
        return done

    monkeypatch.setattr(owner, name, die)
    checkpoints = CheckpointSettings(tmp_path / "c.npz", every_s=0.0)
    losses = []
    with pytest.raises(SystemExit):
        for event in training.Training(config, corpus, targets, 1, path, checkpoints).events():
            if isinstance(event, Round):
                losses.append(event.metrics["val_loss"])
    keep_reported(path, len(losses))
    network = lstm.build(config.evolve(averaging="off"), len(corpus.alphabet))
    network.scored.load_weights(path)
    predictor = predictor_of(program_of(network, config, 0), config)
    own = evaluate(predictor, config, corpus, corpus.validation, targets)["loss"]
    assert len(losses) == 2 and own == pytest.approx(min(losses), rel=1e-5)
