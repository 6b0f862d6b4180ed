"""A sweep and an export score targets side by side in the last steps of shared windows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lstm_sweep.models.bundle import bundle as bundles
from lstm_sweep.models.data.corpus import load as load_corpus
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.data.windows import Scoring
from lstm_sweep.models.network.evaluation import evaluate
from lstm_sweep.models.network.program import StepwiseProgram
from lstm_sweep.search.actions import inference
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.store.settings import load
from lstm_sweep.spaces.space import with_settings
from tests.conftest import in_full
from tests.sweeps import PLAIN, tiny_spec


@pytest.mark.parametrize("adjacent", [24, *in_full(1)])
def test_losses_are_those_of_shared_windows_if_targets_are_side_by_side(
    workplace: Callable[[str], Path], data: Path, tmp_path: Path, adjacent: int
) -> None:
    settings = load(workplace(f"shared-{adjacent}"), {})
    fields = {"direction": "uni", "sequence_length": 10, "layer_size": 16}
    spec = tiny_spec(
        data=str(data), name="s", trials=1, workers=1, adjacent_targets=adjacent, **PLAIN
    )
    space = with_settings(spec.space, [f"{name}={value}" for name, value in fields.items()])
    spec = replace(spec, space=space)
    assert dict(Local(settings).launch(spec).trials) == {"complete": 1}
    folder = tmp_path / "best"
    Local(settings).export("s", str(folder))
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))

    corpus, scoring = load_corpus(Source(data=str(data))), Scoring(100, 0, adjacent)
    path, content = bundles.read(str(folder))
    inference.predictor_of(path, content, seed=0)  # sets the process up
    networks = bundles.networks_of(path / "model.keras", content.config, len(content.alphabet))
    program = StepwiseProgram(networks, content.config)
    for split, loss in ((corpus.validation, "val_loss"), (corpus.test, "test_loss")):
        targets = scoring.drawn(split, at_least=10_000 if loss == "test_loss" else 0)
        shared, whole = (
            evaluate(program, content.config, corpus, split, targets, share_windows=share)
            for share in (True, False)
        )
        own, other = (shared, whole) if scoring.share_windows else (whole, shared)
        assert metrics[loss] == pytest.approx(own["loss"], rel=1e-6)
        assert metrics[loss] != pytest.approx(other["loss"], rel=1e-5)
