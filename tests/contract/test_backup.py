"""docs/backup.md: its commands give back a store with which all goes on."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lstm_sweep.search.actions import references
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.service import queue
from lstm_sweep.search.service.auth import TokenFile
from lstm_sweep.search.store.journal import WEIGHTS
from lstm_sweep.search.store.settings import Settings, load
from lstm_sweep.search.store.tracking import MlflowStore
from lstm_sweep.search.values.spec import SweepSpec
from tests import postgres
from tests.fakes import ScriptedEngine
from tests.sweeps import LOSSES, PLAIN, tiny_spec

PAGE = (Path(__file__).parents[2] / "docs" / "backup.md").read_text(encoding="utf-8")


def run_as_told(what: str, folder: Path, **environment: str) -> None:
    """Run the commands of the page."""
    [commands] = re.findall(rf"<!-- {what} -->\n```\n(.*?)```", PAGE, re.DOTALL)
    subprocess.run(
        ["bash", "-euxc", commands], cwd=folder, env=os.environ | environment, check=True
    )


@pytest.fixture
def folder(workplace: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(references, "open_engine", lambda name, **more: ScriptedEngine(LOSSES))
    folder = workplace("backup") / "store"
    folder.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder.parent / "cache"))
    (folder.parent / "cache" / "lstm-sweep").mkdir(parents=True)
    return folder


def fill(settings: Settings, data: Path) -> None:
    """A sweep that has ended, and one that waits."""

    def spec(name: str) -> SweepSpec:
        return tiny_spec(data=str(data), name=name, trials=2, **PLAIN)

    Local(settings).launch(spec("s"))
    queue.submit(MlflowStore(settings), spec("waits"), owner="ann")
    Local(settings).pause("waits")


def check(settings: Settings, folder: Path) -> None:
    """All is there, and goes on."""
    states = {row.sweep: row.state for row in Local(settings).sweeps()}
    assert states == {"s": "finished", "waits": "paused"}
    best = Local(settings).trials("s").best
    assert best
    weights = MlflowStore(settings).fetch(best.run_id, f"{WEIGHTS}/model.keras", folder)
    assert weights.read_bytes() == b"weights"
    Local(settings).resume("waits", {})
    assert Local(settings).status("waits").state == "finished"
    Local(settings).resume("s", {"trials": 3})
    assert len(Local(settings).trials("s")) == 3


def test_an_sqlite_store_is_restored_and_moved(folder: Path, data: Path, tmp_path: Path) -> None:
    fill(load(folder, {}), data)
    (folder / "lstm-sweep-service").mkdir(mode=0o700)
    TokenFile(folder / "lstm-sweep-service").add("ann", "run")
    checkpoint = folder.parent / "cache" / "lstm-sweep" / "checkpoint"
    checkpoint.write_text("x")
    in_use = sqlite3.connect(folder / "mlflow.db")
    in_use.execute("SELECT count(*) FROM runs").fetchall()
    run_as_told("backup: sqlite", folder)
    in_use.close()
    Local(load(folder, {})).delete("s")
    shutil.rmtree(folder / "mlartifacts")
    checkpoint.unlink()
    run_as_told("restore: sqlite", folder)
    with sqlite3.connect(folder / "mlflow.db") as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert [row.name for row in TokenFile(folder / "lstm-sweep-service").rows()] == ["ann"]
    assert checkpoint.exists() and (folder / "backup").stat().st_mode & 0o077 == 0
    new = folder.parent / "new"
    run_as_told("move", folder.parent, OLD=str(folder), NEW=str(new))
    check(load(new, {}), tmp_path)


@pytest.mark.full
def test_a_database_is_restored(
    folder: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts = (folder / "mlartifacts").as_uri()

    def settings_of(cluster: postgres.Cluster) -> Settings:
        for name, value in cluster.login.items():
            monkeypatch.setenv(name, value)
        return Settings(cluster.address("lstm_sweep"), artifacts, "lstm-sweep", "test")

    with postgres.running() as cluster:
        cluster.client("createdb", "lstm_sweep")
        fill(settings_of(cluster), data)
        run_as_told("backup: postgresql", folder, **cluster.environment)
    with postgres.running() as another:
        run_as_told("restore: postgresql", folder, **another.environment)
        check(settings_of(another), tmp_path)
