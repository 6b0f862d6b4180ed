"""One suite for all stores: in memory, in a real SQLite file and behind a real tracking server."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.data.windows import Scoring
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.driver.observer import Observer
from lstm_sweep.search.engines.base import InlineEngine
from lstm_sweep.search.store import experiment, reader
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import MlflowStore, Store
from tests.conftest import in_full
from tests.fakes import ScriptedEngine
from tests.sweeps import store_in, sweep_of, tiny_spec


@pytest.fixture
def mlflow_store(workplace: Callable[[str], Path]) -> MlflowStore:
    return store_in(workplace("sqlite"))


@pytest.fixture(params=["memory", "sqlite", *in_full("server")])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "memory":
        return MemoryStore()
    if request.param == "server":
        address = request.getfixturevalue("tracking_server")
        return MlflowStore(Settings(address, None, f"test {time.monotonic_ns()}", "test"))
    return cast("MlflowStore", request.getfixturevalue("mlflow_store"))


@pytest.fixture
def memory() -> MemoryStore:
    """What is not about where runs are kept needs no database."""
    return MemoryStore()


# --- what holds for each store --------------------------------------------------------------------


def test_metrics_come_back_bit_for_bit(store: Store) -> None:
    run_id = store.create_run("r", {})
    given = [math.pi, 0.1 + 0.2, 1e-300, math.inf, -math.inf, math.nan, 1e308]
    for step, value in enumerate(given):
        store.log(run_id, metrics={"loss": value}, step=step)
    found = store.history(run_id, "loss")
    assert list(map(repr, found.values())) == list(map(repr, given))


def test_a_tag_that_mlflow_would_cut_off_is_refused(store: Store) -> None:
    with pytest.raises(InputError, match="9,000 characters"):
        store.create_run("r", {"long": "x" * 9000})


def test_a_null_character_which_not_every_database_holds_is_escaped(store: Store) -> None:
    run_id = store.create_run("r", {"sweep.device": "a\0b"})
    store.log(run_id, tags={"sweep.reason": "ValueError: c\0d"}, params={"data": "e\0f"})
    tags = store.tags(run_id)
    assert (tags["sweep.device"], tags["sweep.reason"]) == ("a\\0b", "ValueError: c\\0d")
    assert store.run(run_id).data.params["data"] == "e\\0f"


def test_runs_are_found_by_tags_ids_names_and_metrics(store: Store) -> None:
    sweep = {Tag.ROLE: "sweep", Tag.NAME: "mine"}
    first, second = (store.create_run(name, sweep) for name in ("a", "b"))
    other = store.create_run("c", {Tag.ROLE: "sweep", Tag.NAME: "other", Tag.OWNER: "o'brien"})
    trial = store.create_run("t", {Tag.NAME: "mine", Tag.TRIAL: "0"}, parent=first)
    for run_id, loss in ((first, 2.0), (second, 1.0)):
        store.log(run_id, metrics={"best_val_loss": loss})

    def ids(runs: list[Any]) -> list[str]:
        return [run.info.run_id for run in runs]

    assert set(ids(store.runs())) == {first, second, other, trial}
    assert set(ids(store.runs(sweep))) == {first, second}
    assert ids(store.runs({Tag.PARENT: first})) == [trial]
    assert ids(store.runs({Tag.OWNER: "o'brien"})) == [other]
    lowest, _ = store.select(sweep, 1, order="best_val_loss")
    by_id, _ = store.select({}, 5, begins=("", trial[:8]))
    by_name, _ = store.select({Tag.ROLE: "sweep"}, 5, begins=(Tag.NAME, "mi"))
    assert (ids(lowest), ids(by_id), set(ids(by_name))) == ([second], [trial], {first, second})
    page, token = store.select({Tag.ROLE: "sweep"}, 2)
    rest, end = store.select({Tag.ROLE: "sweep"}, 2, token)
    assert (len(page), len(rest), end) == (2, 1, "")
    assert {*ids(page), *ids(rest)} == {first, second, other}
    with pytest.raises(InputError, match="page is 'x'"):
        store.select({Tag.ROLE: "sweep"}, 2, "x")
    with pytest.raises(InputError, match="has both kinds of quotes"):
        store.runs({Tag.OWNER: "'\""})
    assert store.run("0" * 32) is None


def test_the_newest_of_a_name_are_found_beside_those_that_look_like_it(store: Store) -> None:
    for name in ("a_b-1", "a_b-2", *(f"a.b-{number}" for number in range(4))):
        store.create_run(name, {Tag.ROLE: "sweep", Tag.NAME: name})
    found, token = store.select({Tag.ROLE: "sweep"}, 1, begins=(Tag.NAME, "a_b-"))
    rest, end = store.select({Tag.ROLE: "sweep"}, 2, token, begins=(Tag.NAME, "a_b-"))
    names = [run.data.tags[Tag.NAME] for run in (*found, *rest)]
    assert (len(found), sorted(names), end) == (1, ["a_b-1", "a_b-2"], "")


def test_a_param_is_written_once_and_a_status_and_tags_change(store: Store) -> None:
    run_id = store.create_run("r", {"sweep.stop": "yes"})
    assert store.log_once(run_id, "owns_name", "yes") and store.log_once(run_id, "owns_name", "yes")
    assert not store.log_once(run_id, "owns_name", "no")
    with pytest.raises(Exception, match="owns_name"):
        store.log(run_id, params={"owns_name": "no"})
    assert store.run(run_id).data.params == {"owns_name": "yes"}
    store.drop_tag(run_id, "sweep.stop")
    store.drop_tag(run_id, "sweep.stop")
    assert "sweep.stop" not in store.tags(run_id)
    assert store.run(run_id).info.status == "RUNNING"
    store.finish(run_id, "FAILED")
    before = store.run(run_id).info
    store.reopen(run_id, "SCHEDULED")
    after = store.run(run_id).info
    assert (before.status, after.status) == ("FAILED", "SCHEDULED")
    assert before.start_time <= before.end_time == after.end_time
    assert after.run_name == "r"


def test_the_latest_value_of_a_metric_is_that_of_the_last_step(store: Store) -> None:
    run_id = store.create_run("r", {})
    store.log(run_id, metrics={"loss": 1.0}, step=3, steps={1: {"loss": 3.0}, 2: {"loss": 2.0}})
    store.log(run_id, metrics={"loss": 9.0}, step=1)
    run = store.run(run_id)
    assert run.data.metrics == {"loss": 1.0}
    run.data.tags["changed"] = "here"
    assert "changed" not in store.tags(run_id)
    assert {step for step, _, _ in store.timeline(run_id, "loss")} == {1, 2, 3}
    assert store.history(run_id, "none") == {}


def test_files_are_kept_and_let_go(store: Store, tmp_path: Path) -> None:
    run_id = store.create_run("r", {})
    (tmp_path / "model.keras").write_bytes(b"weights")
    store.keep_file(run_id, tmp_path / "model.keras", "model")
    (tmp_path / "back").mkdir()
    fetched = store.fetch(run_id, "model/model.keras", tmp_path / "back")
    assert fetched.read_bytes() == b"weights"
    assert store.bytes_of(run_id, "model") == store.bytes_of(run_id) == 7
    store.drop_folder(run_id, "model")
    store.drop_folder(run_id, "model")
    assert store.bytes_of(run_id) == 0
    store.keep_text(run_id, "a: 1", "sweep.yaml")
    assert store.fetch(run_id, "sweep.yaml", tmp_path / "back").read_text() == "a: 1"


def test_a_child_run_has_all_that_is_needed_to_repeat_it(store: Store, corpus: Corpus) -> None:
    state = sweep_of(store, corpus, ScriptedEngine({0: [3.0, 2.0]}), tiny_spec(trials=1)).run()
    run = store.run(state.finished[0].run_id)
    trial = state.finished[0]
    assert run.data.tags["mlflow.parentRunId"] == state.run_id
    assert TrialConfig.from_dict(reader.read_trial(run).config.to_dict()) == trial.config
    assert run.data.params["parameters"].isdigit()
    assert run.data.tags["sweep.seed"] == str(trial.seed)
    assert run.data.tags["version.numpy"]
    source, scoring = reader.read_source(reader.read_trial(run))
    assert source == replace(tiny_spec().source(), ends=False)  # characters have none
    assert scoring == Scoring(targets=100, seed=0, adjacent=24)


def test_only_the_best_few_keep_their_weights(store: Store, corpus: Corpus) -> None:
    script = {number: [loss] for number, loss in enumerate([5.0, 4.0, 3.0, 3.5, 9.0])}
    sweep_of(store, corpus, ScriptedEngine(script), tiny_spec(trials=5, keep=2, epochs=1)).run()
    kept = {r.number for r in reader.trials(store, "s") if r.has_weights}
    assert kept == {2, 3}
    for record in reader.trials(store, "s"):
        assert (store.bytes_of(record.run_id) > 0) is (record.number in kept)


class _Unread(Observer):
    """A display whose output is closed by its reader."""

    def trial_ended(self, progress: Any, state: Any) -> None:
        raise SystemExit(1)


def test_a_sweep_goes_on_when_nobody_reads_what_it_prints(
    memory: MemoryStore, corpus: Corpus
) -> None:
    spec = tiny_spec(trials=3, epochs=1)
    engine = ScriptedEngine({n: [3.0 - n] for n in range(3)})
    state = sweep_of(memory, corpus, engine, spec, observer=_Unread()).run()
    assert state.counts == {"complete": 3}
    assert memory.run(state.run_id).info.status == "FINISHED"


def test_a_name_whose_sweep_was_deleted_begins_anew(
    mlflow_store: MlflowStore, corpus: Corpus
) -> None:
    old = sweep_of(
        mlflow_store, corpus, ScriptedEngine({0: [1.0]}), tiny_spec(trials=1, epochs=1)
    ).run()
    mlflow_store.client.delete_run(old.run_id)
    assert reader.trials(mlflow_store, "s") == []
    sweep_of(mlflow_store, corpus, ScriptedEngine({0: [2.0]}), tiny_spec(trials=1, epochs=1)).run()
    assert [record.best_loss for record in reader.trials(mlflow_store, "s")] == [2.0]


def test_a_real_trial_runs_inline_through_the_whole_loop(
    memory: MemoryStore, corpus: Corpus
) -> None:
    state = sweep_of(memory, corpus, InlineEngine(), tiny_spec(trials=1)).run()
    assert state.counts == {"complete": 1}
    [record] = reader.trials(memory, "s")
    assert record.best_loss == state.finished[0].best_loss
    assert record.has_weights
    logged = memory.run(record.run_id).data.metrics
    assert {name for line in experiment.LINES for name in line} - {""} <= logged.keys()
