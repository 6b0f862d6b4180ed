"""The file of the best network is that of the last round that was reported."""

from __future__ import annotations

import itertools
import json
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
    load,
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


EPOCHS = [{"val_loss": 0.1 + 0.2, "round_seconds": 1.5}, {"val_loss": 1e-300}]
STATE: list[Any] = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.array(7, np.int64),
    np.ones(2, np.uint32),
    *map(np.array, range(20)),  # more than ten keep their order
]
BEST: list[Any] = [np.full((3, 1), np.float32(np.pi))]


def saved(folder: Path) -> Path:
    file = folder / "checkpoint.npz"
    Checkpoint(EPOCHS, STATE, BEST).save(file, "trial 1")
    return file


@pytest.mark.parametrize(
    ("every_s", "took", "due"),
    [(5.0, 0.0, 1.0), (5.0, 0.04, 2.0), (5.0, 0.2, 5.0), (5.0, 3.0, 60.0), (0.0, 3.0, 0.0)],
)
def test_a_checkpoint_is_due_once_writing_it_takes_a_small_share_of_the_time(
    every_s: float, took: float, due: float
) -> None:
    assert CheckpointSettings(Path("c.npz"), every_s).due_after(took) == due


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    found = load(saved(tmp_path), "trial 1")
    assert found
    assert found.rounds == EPOCHS
    for before, after in zip([*STATE, *BEST], [*found.state, *found.best], strict=True):
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(before, after)


def test_only_its_own_training_reads_a_checkpoint(tmp_path: Path) -> None:
    assert load(saved(tmp_path), "trial 2") is None


def test_a_file_cut_off_anywhere_counts_as_none(tmp_path: Path) -> None:
    file = saved(tmp_path)
    whole = file.read_bytes()
    for length in range(0, len(whole), 7):
        file.write_bytes(whole[:length])
        assert load(file, "trial 1") is None


def test_a_file_that_would_run_code_is_not_read(tmp_path: Path) -> None:
    about = np.frombuffer(json.dumps({"identity": "t", "rounds": []}).encode(), np.uint8)
    objects = np.array([{"any": "object"}], dtype=object)
    np.savez(tmp_path / "c.npz", allow_pickle=True, about=about, state0=objects)
    assert load(tmp_path / "c.npz", "t") is None
