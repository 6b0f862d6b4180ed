"""The file of the best network is that of the last round that was reported."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_sweep.models.backend import keras
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.data.windows import scoring_targets
from lstm_sweep.models.network import lstm, training
from lstm_sweep.models.network.checkpoint import (
    Checkpoint,
    CheckpointSettings,
    keep_reported,
    write_network,
)
from lstm_sweep.models.network.evaluation import evaluate
from lstm_sweep.models.network.program import program_of
from lstm_sweep.models.rounds import Round

CONFIG = TrialConfig(layers=2, layer_size=8, sequence_length=5, dropout=0.2)


pytestmark = pytest.mark.usefixtures("prepared")


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
    loaded = keras.saving.load_model(path, compile=False)
    return list(loaded.get_weights())


def test_the_file_is_that_of_the_last_round_that_was_reported(tmp_path: Path) -> None:
    model, path = network(CONFIG), tmp_path / "best.keras"
    trained(model, 0)
    write_network(model, path, 1)
    keep_reported(path, 0)
    assert list(tmp_path.iterdir()) == [], "nobody has heard of its first round"
    first = trained(model, 1)
    write_network(model, path, 1)
    keep_reported(path, 1)
    np.testing.assert_equal(weights_in(path), first)
    second = trained(model, 2)
    write_network(model, path, 4)
    keep_reported(path, 3)
    np.testing.assert_equal(weights_in(path), first)
    trained(model, 2)
    write_network(model, path, 4)
    keep_reported(path, 4)
    np.testing.assert_equal(weights_in(path), second)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("killed", ["checkpoint", "network"])
def test_a_training_that_is_killed_before_it_reports_leaves_the_network_of_its_best_loss(
    killed: str, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrialConfig(layers=1, layer_size=8, sequence_length=8, batch_size=32, epochs=6)
    targets, path = scoring_targets(corpus.validation, 200, 0), tmp_path / "best.keras"
    owner, name = (Checkpoint, "save") if killed == "checkpoint" else (training, "write_network")
    method, calls = getattr(owner, name), itertools.count(1)

    def die(*arguments: Any) -> Any:
        done = method(*arguments)
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
    program = program_of(network, config, 0)
    own = evaluate(program, config, corpus, corpus.validation, targets)["loss"]
    assert len(losses) == 2 and own == pytest.approx(min(losses), rel=1e-5)
