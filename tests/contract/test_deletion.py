"""Sweeps that are deleted and pruned: nothing of them is left, and what stays works."""

from __future__ import annotations

import itertools
import sqlite3
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import lstm_sweep
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions import lifecycle
from lstm_sweep.search.actions.export import register
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.actions.references import SweepRunsError
from lstm_sweep.search.driver.lease import Lease
from lstm_sweep.search.service import queue
from lstm_sweep.search.service.service import Service
from lstm_sweep.search.service.settings import ServiceSettings
from lstm_sweep.search.store import reader, registry
from lstm_sweep.search.store import registry as deleting
from lstm_sweep.search.store.faults import NoSuchRunError
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import MlflowStore
from tests.conftest import in_full
from tests.fakes import ScriptedEngine
from tests.sweeps import PLAIN, real_store, sweep_of, tiny_spec

#: trial 1 is the best
LOSSES = {0: [3.0, 2.5], 1: [2.0, 2.2], 2: [2.8, 2.6]}
DAY_S = 24 * 3600.0


#: for tests in which a server matters
each_store = pytest.mark.parametrize("store", ["sqlite", *in_full("server")], indirect=True)


@pytest.fixture(params=["sqlite"])
def store(request: pytest.FixtureRequest) -> MlflowStore:
    return real_store(request)


def sweep(store: MlflowStore, corpus: Corpus, name: str = "s") -> list[Any]:
    """The trials of a sweep that has ended."""
    spec = tiny_spec(trials=len(LOSSES), **PLAIN)
    sweep_of(store, corpus, ScriptedEngine(LOSSES), spec, name=name).run()
    return reader.trials(store, name)


def is_sqlite(store: MlflowStore) -> bool:
    return store.settings.database_file is not None


def files_of(store: MlflowStore) -> list[Path]:
    """All files of runs and models of an SQLite store."""
    file = store.settings.database_file
    assert file
    return [one for one in (file.parent / "artifacts").rglob("*") if one.is_file()]


@each_store
def test_a_deleted_sweep_leaves_nothing_and_its_name_is_free(
    store: MlflowStore, corpus: Corpus
) -> None:
    sweep(store, corpus, "other")
    others = len(files_of(store)) if is_sqlite(store) else 0
    records = sweep(store, corpus)
    would = Local(store.settings).delete("s", dry_run=True)
    assert len(reader.trials(store, "s")) == 3
    found = Local(store.settings).delete("s")
    assert found.bytes == would.bytes > 0
    assert found.runs == would.runs >= 4  # its own, trials and baselines
    assert found.marked == (0 if is_sqlite(store) else found.runs)
    assert reader.find_sweep(store, "s") is None
    assert [store.run(one.run_id) for one in records] == [None] * 3
    if is_sqlite(store):
        assert len(files_of(store)) == others
        assert not any(one.run_id in str(path) for one in records for path in files_of(store))
        file = store.settings.database_file
        assert file
        with sqlite3.connect(file) as database:
            for table in ("runs", "metrics", "params", "tags", "latest_metrics"):
                query = f"SELECT count(*) FROM {table} WHERE run_uuid = ?"
                assert database.execute(query, [records[1].run_id]).fetchone() == (0,)
    with pytest.raises(NoSuchRunError):
        Local(store.settings).delete("s")
    assert len(sweep(store, corpus)) == 3
    assert len(reader.trials(store, "other")) == 3


@each_store
def test_a_version_of_a_registered_model_stays_with_its_files(
    store: MlflowStore, corpus: Corpus, tmp_path: Path
) -> None:
    best = sweep(store, corpus)[1]
    name = f"m{time.monotonic_ns()}"
    version = register(store, best, name, tmp_path, tmp_path, {"test_loss": 2.0})
    found = Local(store.settings).delete("s")
    assert found.kept == (f"version 1 of {name}",)
    model = store.client.get_logged_model(version.model_id)
    place = store.experiment.place_of_model(model)
    store.files_at(place).download_artifacts("", str(tmp_path))
    assert (tmp_path / "data" / "network" / "model.keras").exists()


@each_store
def test_what_breaks_off_is_gone_on_with_and_the_sweep_does_not_go_on(
    store: MlflowStore, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep(store, corpus)
    delete, calls = deleting.delete, itertools.count()

    def break_off(given: MlflowStore, run_id: str, **more: Any) -> Any:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return delete(given, run_id, **more)

    monkeypatch.setattr(deleting, "delete", break_off)
    with pytest.raises(KeyboardInterrupt):
        Local(store.settings).delete("s")
    with pytest.raises(InputError, match="is being deleted"):
        Local(store.settings).resume("s", {"trials": 9})
    with pytest.raises(InputError, match="is being deleted"):
        queue.requeue(store, "s", {"trials": 9}, "ann")
    left = Local(store.settings).delete("s", within_s=1, clock=itertools.count().__next__)
    assert left.left > 0
    assert Local(store.settings).delete("s").left == 0
    assert reader.find_sweep(store, "s") is None


def test_a_sweep_that_runs_or_waits_is_not_deleted(store: MlflowStore, corpus: Corpus) -> None:
    sweep(store, corpus)
    run_id = reader.existing_sweep(store, "s").info.run_id
    lease = Lease(store, run_id)
    lease.take()
    with pytest.raises(SweepRunsError, match="drives it"):
        Local(store.settings).delete("s")
    lease.release()
    store.log(run_id, tags={Tag.LEASE: "", Tag.QUEUED: "yes"})
    with pytest.raises(SweepRunsError, match="waits in the queue of a service"):
        Local(store.settings).delete("s")
    assert Local(store.settings).prune(older_than_s=0).left_out
    store.log(run_id, tags={Tag.QUEUED: "no"})
    assert Tag.PRUNED not in store.tags(run_id) and len(reader.trials(store, "s")) == 3


def test_a_deletion_that_is_refused_leaves_the_mark_of_a_pruned_sweep(
    store: MlflowStore, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep(store, corpus)
    Local(store.settings).prune(older_than_s=0, keep_best=True)
    run = reader.existing_sweep(store, "s")
    lease, log = Lease(store, run.info.run_id), store.log
    lease.take()
    state = tmp_path / "state"
    given = ServiceSettings(store=store.settings, folder=tmp_path, state=state, slots=1)
    service = Service(given)
    try:
        with pytest.raises(SweepRunsError, match="drives it"):
            service.delete("s")
        lease.release()
        store.log(run.info.run_id, tags={Tag.LEASE: ""})
        with pytest.raises(InputError, match="all of it but its best trial was pruned"):
            service.resume("s", {"trials": 9})
    finally:
        service.drain()

    def queue_after(run_id: str, **given: Any) -> None:
        log(run_id, **given)
        if Tag.PRUNED in given["tags"]:  # it is queued after the first look at it
            log(run_id, tags={Tag.QUEUED: "yes"})

    for before in (lifecycle.BEST, ""):
        store.log(run.info.run_id, tags={Tag.PRUNED: before, Tag.QUEUED: "no"})
        with monkeypatch.context() as patch:
            patch.setattr(store, "log", queue_after)
            with pytest.raises(SweepRunsError, match="waits in the queue of a service"):
                lifecycle.reserve(store, run)
        assert store.tags(run.info.run_id).get(Tag.PRUNED) == before


def test_prune_takes_what_ended_long_ago(store: MlflowStore, corpus: Corpus) -> None:
    for name in ("s", "t"):
        sweep(store, corpus, name)
    run_id = reader.existing_sweep(store, "t").info.run_id
    store.log(run_id, tags={Tag.OWNER: "ann"})
    later = time.time() + 40 * DAY_S

    def prune(**more: Any) -> list[str]:
        given: dict[str, Any] = {"older_than_s": 30 * DAY_S, "now": lambda: later} | more
        found = Local(store.settings).prune(**given)
        assert found.freed.runs == sum(one.runs for one in found.sweeps)
        return [one.sweep for one in found.sweeps]

    assert prune(older_than_s=41 * DAY_S) == []
    assert prune(dry_run=True) == ["s", "t"]
    assert prune(is_meant=lambda run: run.data.tags.get(Tag.OWNER) == "bob") == []
    assert prune(is_meant=lambda run: run.data.tags.get(Tag.OWNER) == "ann") == ["t"]
    assert prune() == ["s"]
    assert reader.sweeps(store) == []


def test_a_prune_whose_time_is_over_says_what_is_left_and_always_gets_on(
    store: MlflowStore, corpus: Corpus
) -> None:
    for name in ("s", "t"):
        sweep(store, corpus, name)

    def clock() -> float:
        return float(reader.find_sweep(store, "s") is None)

    found = Local(store.settings).prune(older_than_s=0, within_s=0.5, clock=clock)
    assert [one.sweep for one in found.sweeps] == ["s", "t"] and found.left > 0
    for left in reversed(range(found.left)):
        assert Local(store.settings).prune(older_than_s=0, within_s=0).left == left
    assert reader.sweeps(store) == []


def test_what_another_deletes_meanwhile_is_passed_over(store: MlflowStore, corpus: Corpus) -> None:
    for name in ("s", "t"):
        sweep(store, corpus, name)
    listed = reader.existing_sweep(store, "s")

    def delete_first(run: Any) -> bool:
        if run.data.tags[Tag.NAME] == "s":
            Local(store.settings).delete("s")
        return True

    found = Local(store.settings).prune(older_than_s=0, is_meant=delete_first)
    assert [one.sweep for one in found.sweeps] == ["t"] and not found.left_out
    with pytest.raises(NoSuchRunError, match="it was deleted meanwhile"):
        lifecycle.reserve(store, listed)


@pytest.mark.parametrize("days", [-1, float("nan"), float("inf"), True, "1"])
def test_what_is_no_age_is_refused(days: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a number of days from 0"):
        lstm_sweep.prune(older_than_days=days, store=tmp_path)


@each_store
def test_the_best_trial_may_stay(store: MlflowStore, corpus: Corpus) -> None:
    records = sweep(store, corpus)
    given: dict[str, Any] = {"older_than_s": 0, "keep_best": True}
    would = Local(store.settings).prune(dry_run=True, **given)
    found = Local(store.settings).prune(**given)
    assert found.freed == replace(would.freed, marked=found.freed.marked)
    assert found.freed.runs == 2
    [best] = reader.trials(store, "s")
    assert (best.run_id, best.has_weights) == (records[1].run_id, True)
    assert store.bytes_of(best.run_id) > 0 and registry.logged_model_of(store, best.run_id)
    assert Local(store.settings).trials("s").baselines and Local(store.settings).status("s").best
    assert Local(store.settings).report("s").html
    with pytest.raises(InputError, match="all of it but its best trial was pruned"):
        Local(store.settings).resume("s", {"trials": 9})
    assert Local(store.settings).prune(**given).sweeps == ()
    assert [one.sweep for one in Local(store.settings).prune(older_than_s=0).sweeps] == ["s"]
    assert reader.sweeps(store) == []
