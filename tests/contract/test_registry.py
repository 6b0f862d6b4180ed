"""Logged models and versions in MLflow's registry, on a real store; sweeps are scripted."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.models import Model

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions.export import register
from lstm_sweep.search.driver.corpus_task import CorpusTask
from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.store import reader, registry
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.registry import Version
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import MlflowStore
from tests.conftest import in_full
from tests.contract.sittings import Listening
from tests.fakes import ScriptedEngine
from tests.sweeps import PLAIN, real_store, store_in, sweep_of, tiny_spec

#: trial 1 is the best
LOSSES = {0: [3.0, 2.5], 1: [2.0, 2.2], 2: [2.8, 2.6]}


@pytest.fixture(params=["sqlite", *in_full("server")])
def store(request: pytest.FixtureRequest) -> MlflowStore:
    return real_store(request)


def swept(store: MlflowStore, corpus: Corpus, **more: Any) -> tuple[SweepState, list[TrialRecord]]:
    """The end of a sweep, and its trials by number."""
    spec = tiny_spec(trials=len(LOSSES), **PLAIN)
    state = sweep_of(store, corpus, ScriptedEngine(LOSSES), spec, **more).run()
    return state, reader.trials(store, state.name)


def registered(store: MlflowStore, record: TrialRecord, folder: Path, model: str = "m") -> Version:
    written = {"test_loss": 2.0}
    return register(store, record, model, folder / "bundle", folder, written)


def test_the_best_trial_is_a_logged_model_with_its_alphabet(
    store: MlflowStore, corpus: Corpus, tmp_path: Path
) -> None:
    display = Listening()
    _, records = swept(store, corpus, observer=display)
    assert [registry.logged_model_of(store, one.run_id) is not None for one in records] == [
        False, True, False,
    ]  # fmt: skip
    model_id = registry.logged_model_of(store, records[1].run_id)
    found = store.client.get_logged_model(model_id)
    assert (found.status, found.source_run_id) == ("READY", records[1].run_id)
    assert found.params["layer_size"] == "6"
    assert {one.key: one.value for one in found.metrics}["best_val_loss"] == 2.0
    assert store.run(records[1].run_id).info.status == "FINISHED"
    assert store.history(records[1].run_id, "best_val_loss") == {1: 2.0, 2: 2.0}
    place = store.experiment.place_of_model(found)
    store.files_at(place).download_artifacts("", str(tmp_path))
    network = tmp_path / "data" / "network"
    assert (network / "model.keras").read_bytes() == b"weights"
    alphabet = json.loads((network / "alphabet.json").read_text(encoding="utf-8"))
    assert alphabet == corpus.alphabet.to_dict()
    about = Model.load(str(tmp_path))
    assert about.signature.inputs.input_names() == ["text"]
    assert [one.name for one in about.signature.params.params] == [
        "top", "surprise", "length", "temperature", "seed",
    ]  # fmt: skip
    assert about.load_input_example(str(tmp_path))["text"][0] in "".join(
        map(str, corpus.alphabet.symbols)
    )
    assert (about.run_id, about.model_id) == (records[1].run_id, model_id)
    needed = (tmp_path / "requirements.txt").read_text(encoding="utf-8").split()
    assert [one.partition("==")[0] for one in needed] == ["mlflow", "keras", "tensorflow", "numpy"]
    assert all(one.partition("==")[2][0].isdecimal() for one in needed)
    assert display.told == []


def test_a_version_is_the_champion_if_it_is_better_on_the_same_targets(
    store: MlflowStore, corpus: Corpus, tmp_path: Path
) -> None:
    _, [worse, best, _] = swept(store, corpus)
    name = f"m {time.monotonic_ns()}'s"
    best_id = registry.logged_model_of(store, best.run_id)
    first = registered(store, best, tmp_path, name)
    assert first == Version(
        name, 1, str(best_id), f"models:/{name}@champion", True, "no version was the champion"
    )
    again = registered(store, best, tmp_path, name)
    assert again == replace(first, why="it was the champion")
    [version] = store.client.search_model_versions(f"run_id = '{best.run_id}'")
    assert (version.source.split("/")[-2], version.tags[Tag.TRIAL]) == (best_id, "1")
    assert version.description == "lstm-sweep trial s/1: loss 2.0000, test loss 2.0000"

    def add(record: TrialRecord, **changed: str) -> tuple[int, bool, str]:
        """A version of another trial, with other tags than it has."""
        tags = {Tag.CORPUS_DIGEST: "x", Tag.SCORING: "{}", Tag.MODEL_LOSS: "1"}
        tags |= {name: record.tags[name] for name in (Tag.CORPUS_DIGEST, Tag.SCORING)} | changed
        made = registry.log_model(store, record.run_id, "s/0", lambda folder, about: folder.mkdir())
        found = registry.register(store, name, made, record.run_id, tags, "a text")
        return found.version, found.champion, found.why

    assert add(worse, **{Tag.MODEL_LOSS: "2.5"}) == (
        2, False, "its loss 2.5000 is not below 2.0000 of version 1",
    )  # fmt: skip
    assert int(store.client.get_model_version_by_alias(name, "champion").version) == 1
    assert add(worse, **{Tag.MODEL_LOSS: "1.5"}) == (
        3, True, "its loss 1.5000 is below 2.0000 of version 1",
    )  # fmt: skip
    assert int(store.client.get_model_version_by_alias(name, "champion").version) == 3
    assert registered(store, best, tmp_path, name).to_dict() | {"why": ""} == {
        "name": name, "version": 1, "model_id": best_id, "uri": f"models:/{name}/1",
        "champion": False, "why": "",
    }  # fmt: skip


def test_an_average_is_a_version_of_its_own_while_its_trials_are_the_same(
    store: MlflowStore, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, [_, best, _] = swept(store, corpus)
    writer = classmethod(lambda *_: lambda folder, about: folder.mkdir())
    monkeypatch.setattr(CorpusTask, "model_writer", writer)
    name = f"m {time.monotonic_ns()}"

    def version(averaged: list[str], loss: float) -> int:
        written = {"test_loss": 2.0, "val_loss": loss, "averaged": averaged}
        return register(store, best, name, tmp_path / "bundle", tmp_path, written).version

    members = ["s/1", "s/2"]
    assert [version(members, 1.9), version(members, 1.9), version(["s/1", "s/0"], 1.9)] == [1, 1, 2]
    assert [version(members, 1.8), version(members, 1.9), version([], 2.0)] == [3, 1, 4]


def test_a_champion_of_another_program_is_left_alone(
    store: MlflowStore, corpus: Corpus, tmp_path: Path
) -> None:
    _, [_, best, _] = swept(store, corpus)
    name = f"m {time.monotonic_ns()}"
    model_id = str(registry.logged_model_of(store, best.run_id))
    registry.register(store, name, model_id, best.run_id, {}, "somebody's")
    other = registry.log_model(store, best.run_id, "s/1", lambda folder, about: folder.mkdir())
    found = registered(store, best, tmp_path, name)
    assert (found.model_id, found.version, found.champion) == (other, 2, False)
    assert found.why == "not compared with version 1: what one of them was scored on is not known"


@pytest.mark.parametrize("fails", ["create_logged_model", "log_outputs"])
def test_a_sweep_outlives_a_store_that_takes_no_models(
    workplace: Callable[[str], Path], corpus: Corpus, fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, display = store_in(workplace("fails")), Listening()

    def fail(*given: object, **named: object) -> None:
        raise ConnectionError("no such table\nand more")

    monkeypatch.setattr(store.client, fails, fail)
    state, records = swept(store, corpus, observer=display)
    assert str(state.status) == "finished" and records[1].has_weights
    [line] = display.told
    assert line.startswith("the best model was not logged: ") and "no such table" in line
    assert store.run(state.run_id).info.status == "FINISHED"


def test_a_store_does_not_say_where_models_are_written(
    workplace: Callable[[str], Path], corpus: Corpus, tmp_path: Path
) -> None:
    store = store_in(workplace("elsewhere"))
    _, [worse, _, _] = swept(store, corpus)
    create = store.client.create_logged_model

    def elsewhere(*given: Any, **named: Any) -> Any:
        model = create(*given, **named)
        model._artifact_location = (tmp_path / "home").as_uri()
        return model

    store.client.create_logged_model = elsewhere
    with pytest.raises(InputError, match=r"its files are at .*home.*, expected .*/models/m-"):
        registry.log_model(store, worse.run_id, "s/0", lambda folder, about: folder.mkdir())
    assert not (tmp_path / "home").exists()
    found = store.client.search_logged_models([store.experiment.id])
    assert sorted(one.status for one in found) == ["FAILED", "READY"]
