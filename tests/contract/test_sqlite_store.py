"""What holds of an SQLite store alone."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.store.db import utils
from mlflow.store.tracking import sqlalchemy_store

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.store import tracking
from lstm_sweep.search.store.base import RUNS_PER_PAGE
from lstm_sweep.search.store.tracking import MlflowStore
from tests.sweeps import store_in

NFS = "36 35 98:0 / {} rw,noatime master:1 - nfs4 server:/home rw\n"
EXT4 = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """What has the system list these file systems, or nothing."""

    def mount(lines: str) -> None:
        mounts = tmp_path / "mountinfo"
        monkeypatch.setattr(tracking, "MOUNTS", mounts)
        mounts.unlink(missing_ok=True)
        if lines:
            mounts.write_text(lines, encoding="utf-8")

    return mount


def opened(folder: Path) -> tuple[MlflowStore, str]:
    """The store of a folder, and the kind of journal that its file has then."""
    store = store_in(folder)
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        [(mode,)] = connection.execute("PRAGMA journal_mode").fetchall()
    return store, mode


def test_a_new_file_has_a_write_ahead_log_where_one_host_alone_may_use_it(
    tmp_path: Path, mounted: Callable[[str], None]
) -> None:
    for name, mounts, mode in [
        ("own", EXT4, "wal"),
        ("nfs", EXT4 + NFS.format("{}"), "delete"),
    ]:
        folder = tmp_path / name
        folder.mkdir()
        mounted(mounts.format(folder))
        assert opened(folder)[1] == mode, name


@pytest.mark.parametrize(
    ("name", "mounts", "shared"),
    [
        ("nfs with a space", EXT4 + NFS.format("{}"), True),
        ("fuse", EXT4 + NFS.format("{}").replace("nfs4", "fuse.sshfs"), True),
        ("a new kind", EXT4 + NFS.format("{}").replace("nfs4", "newfs"), True),
        ("disk below nfs", NFS.format("/") + EXT4.replace(" / / ", " / {} "), False),
        ("no Linux", "", True),
    ],
)
def test_a_folder_is_shared_unless_it_is_known_to_be_of_one_host(
    name: str, mounts: str, shared: bool, tmp_path: Path, mounted: Callable[[str], None]
) -> None:
    folder = tmp_path / name
    mounted(mounts.format(str(folder).replace(" ", "\\040")))
    assert (tracking.kind_of(folder) not in tracking.OWN) == shared


def test_a_write_ahead_log_on_a_network_is_taken_away_once_nobody_uses_it(
    workplace: Callable[[str], Path], mounted: Callable[[str], None]
) -> None:
    folder = workplace("moved")
    mounted(EXT4)
    store, mode = opened(folder)
    run_id = store.create_run("kept", {"sweep.name": "kept"})
    assert mode == "wal"
    mounted(EXT4 + NFS.format(folder))
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as other:
        other.execute("SELECT count(*) FROM runs").fetchone()
        with pytest.raises(InputError, match="file system of type nfs4, and is in use; expected"):
            store_in(folder)
    store.client._tracking_client.store.engine.dispose()
    again, mode = opened(folder)
    assert (mode, again.tags(run_id)["sweep.name"]) == ("delete", "kept")
    mounted(EXT4)  # as on the host whose disk the others have by the network
    assert opened(folder)[1] == "delete"


def copy_run(file: Path, run_id: str, times: int) -> None:
    """Give an SQLite store more runs like one, with the same tags; all begin at the same time."""
    connection = sqlite3.connect(file)
    for table, key in [("runs", "run_uuid"), ("tags", "run_uuid")]:
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        values = ", ".join("printf('%032x', n)" if c == key else f"r.{c}" for c in columns)
        connection.execute(
            f"WITH RECURSIVE count(n) AS (SELECT 1 UNION SELECT n + 1 FROM count WHERE n < ?) "
            f"INSERT INTO {table} SELECT {values} FROM {table} r, count WHERE r.{key} = ?",
            (times, run_id),
        )
    connection.commit()
    connection.close()


def test_runs_are_found_though_they_fill_several_answers(
    workplace: Callable[[str], Path],
) -> None:
    folder = workplace("many")
    store = store_in(folder)
    first = store.create_run("first", {"sweep.name": "many"})
    wanted = store.create_run("r", {"sweep.name": "many"})
    other = store.create_run("other", {"sweep.name": "other"})
    copy_run(folder / "mlflow.db", wanted, 2 * RUNS_PER_PAGE)
    last = store.create_run("last", {"sweep.name": "many"})
    found = [run.info.run_id for run in store.runs({"sweep.name": "many"})]
    assert (found[0], found[-1]) == (first, last)
    assert sorted(found[1:-1]) == sorted([wanted, *(f"{n:032x}" for n in range(1, 2001))])
    assert {run.info.run_id for run in store.runs()} == {*found, other}


def test_data_that_another_process_logs_at_the_same_moment_are_logged(
    workplace: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = workplace("same")
    store = store_in(folder)
    data = {"name": "words.txt", "digest": "0" * 32, "source": "words.txt"}
    first, second = (store.create_run("r", {}) for _ in range(2))
    new_id = sqlalchemy_store.uuid.uuid4

    def meanwhile() -> Any:
        """Called by MLflow between its look for the data and its write of them."""
        monkeypatch.setattr(sqlalchemy_store.uuid, "uuid4", new_id)
        store_in(folder).log_dataset(second, **data)
        return new_id()

    monkeypatch.setattr(sqlalchemy_store.uuid, "uuid4", meanwhile)
    store.log_dataset(first, **data)
    for run_id in (first, second):
        [one] = store.client.get_run(run_id).inputs.dataset_inputs
        assert (one.dataset.name, one.dataset.digest) == (data["name"], data["digest"])


def test_tags_are_there_once_all_metrics_are_that_were_logged_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_in(tmp_path)
    run_id, seen = store.create_run("r", {}), list[int]()
    log_batch = sqlalchemy_store.SqlAlchemyStore.log_batch

    def noted(self: Any, run_id: str, metrics: Any, params: Any, tags: Any) -> None:
        log_batch(self, run_id, metrics, params, tags)
        run = self.get_run(run_id).data
        if run.tags.get("outcome"):
            seen.append(int(run.metrics["val_loss"]))

    monkeypatch.setattr(sqlalchemy_store.SqlAlchemyStore, "log_batch", noted)
    steps = {n: {"val_loss": float(n), "epoch": float(n)} for n in range(700)}
    store.log(run_id, steps=steps, params={"seed": 1}, tags={"outcome": "complete"})
    assert seen == [699]
    assert store.history(run_id, "epoch").keys() == steps.keys()


def test_a_store_is_made_anew_if_its_process_is_killed_while_its_tables_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(engine: Any) -> None:
        with sqlite3.connect(engine.url.database) as connection:
            connection.execute("CREATE TABLE _alembic_tmp_latest_metrics (key TEXT)")
        os._exit(9)

    monkeypatch.setattr(utils, "_upgrade_db", killed)
    if not (child := os.fork()):
        store_in(tmp_path)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert not (tmp_path / "mlflow.db").exists()
    monkeypatch.undo()
    assert store_in(tmp_path).create_run("r", {})
    assert [path.name for path in tmp_path.glob("mlflow.db*.new*")] == []
