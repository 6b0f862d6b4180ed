"""How often a training writes a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.data.windows import scoring_targets

CONFIG = TrialConfig(layers=2, layer_size=12, sequence_length=10, batch_size=16, epochs=3)


pytestmark = pytest.mark.usefixtures("prepared")


@pytest.mark.parametrize(
    ("second", "took", "kept"), [(0.4, 0.0, 1), (1.5, 0.0, 3), (2.5, 0.04, 3), (2.4, 0.1, 1)]
)
def test_the_next_checkpoint_is_due_once_the_last_one_has_cost_little(
    corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    second: float,
    took: float,
    kept: int,
) -> None:
    from lstm_sweep.models.network import training
    from lstm_sweep.models.network.checkpoint import Checkpoint, CheckpointSettings
    from lstm_sweep.models.rounds import Round

    now, save = 1.0, Checkpoint.save

    def timed_save(checkpoint: Checkpoint, path: Path, identity: str) -> None:
        nonlocal now
        save(checkpoint, path, identity)
        now += took

    monkeypatch.setattr(Checkpoint, "save", timed_save)
    began = iter([0.0])
    events = training.Training(
        CONFIG,
        corpus,
        scoring_targets(corpus.validation, 300, 0),
        3,
        tmp_path / "m.keras",
        CheckpointSettings(tmp_path / "checkpoint.npz"),
        clock=lambda: next(began, now),
    ).events()
    for event in events:
        now += second * isinstance(event, Round)
    about = json.loads(np.load(tmp_path / "checkpoint.npz")["about"].tobytes())
    assert len(about["rounds"]) == kept
