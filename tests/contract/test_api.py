"""What is done with a trained model through the callable core, with real workers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lstm_sweep.models.bundle import bundle as bundles
from lstm_sweep.models.data import corpus as corpora
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.errors import InputError
from lstm_sweep.models.network.evaluation import evaluate
from lstm_sweep.search.actions.detection import Rule, detect
from lstm_sweep.search.actions.inference import GenerationRequest, generate, predictor_of
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.store.settings import Settings, load
from tests.contract.four_trials import Listening
from tests.contract.test_side_effects import nothing_changed
from tests.sweeps import PLAIN, tiny_spec


@pytest.fixture(scope="module")
def settings(workplace: Callable[[str], Path], data: Path) -> Settings:
    """A store with a sweep of one trial."""
    found = load(workplace("api"), {})
    spec = tiny_spec(data=str(data), name="s", trials=1, workers=1, **PLAIN)
    assert dict(Local(found).launch(spec).trials) == {"complete": 1}
    return found


def test_a_trial_is_trained_again_and_varied(settings: Settings) -> None:
    reading = Listening()
    with nothing_changed():
        again = Local(settings).rerun("s/0", observer=reading)
    [first] = Local(settings).trials("s")
    assert reading.told == [f"training s/0 again (run {first.run_id})"]
    assert (again.verdict, again.epochs_compared) == ("identical", 2)
    shown = Local(settings).show(again.rerun_run_id).to_dict()
    assert (shown["phase"], shown["val_loss"]) == ("rerun", first.best_loss)
    refused = Listening()
    with pytest.raises(InputError, match="sequence_length"):
        Local(settings).rerun("s/0", changes={"sequence_length": 5_000}, observer=refused)
    assert refused.told == []
    varied = Local(settings).rerun("s/0", changes={"epochs": 1})
    assert varied.variation == {"epochs": {"was": 2, "is": 1}}


def loss_on_all_test_data(bundle: str, data: Path) -> float:
    """Loss of an exported network, nats; the sweep has scored 100 of the 600 symbols."""
    corpus = corpora.load(Source(data=str(data)))
    folder, content = bundles.read(bundle)
    predictor = predictor_of(folder, content, seed=0)
    places = np.arange(len(corpus.test))
    return evaluate(predictor, content.config, corpus, corpus.test, places)["loss"]


@pytest.mark.full
def test_a_model_is_exported_and_used(settings: Settings, data: Path, tmp_path: Path) -> None:
    bundle = str(tmp_path / "best")
    with nothing_changed():
        exported = Local(settings).export("s", bundle)
    assert (exported.bundle, exported.trial, exported.windows) == (bundle, "s/0", 100)
    assert exported.test_loss == pytest.approx(loss_on_all_test_data(bundle, data), rel=1e-5)
    assert exported.max_difference is not None
    assert exported.to_dict()["parity"] == {
        "max_difference": exported.max_difference, "windows": 100,
    }  # fmt: skip
    with pytest.raises(InputError, match="found something there"):
        Local(settings).export("s", bundle)
    request = GenerationRequest(prompt="sun", length=5, temperature=1.0, count=2, seed=3)
    with nothing_changed():
        turns = list(generate(bundle, request))
    assert [len(turn) for turn in turns] == [2] * 5
    told = generate(bundle, request).to_dict()
    assert told["sequences"] == ["".join(map(str, row)) for row in zip(*turns, strict=True)]
    with nothing_changed():
        found = detect(bundle, str(data), Rule(below=0.001, candidates=1), top=3)
    assert found.symbols == 6_000 and len(found.findings) == 3 <= found.unexpected
