"""What holds of an SQLite store alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.store.tracking import sqlalchemy_store

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tracking import RUNS_PER_PAGE, Store
from tests.sweeps import store_in


def test_an_sqlite_store_is_in_write_ahead_mode(workplace: Callable[[str], Path]) -> None:
    folder = workplace("wal")
    Store(Settings(f"sqlite:///{folder / 'mlflow.db'}", None, "test", "test"))
    connection = sqlite3.connect(folder / "mlflow.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


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


@pytest.mark.parametrize("name", ["o'brien", 'a"b', "a' OR 'b", "a`b"])
def test_runs_are_found_by_tags_with_quotes(workplace: Callable[[str], Path], name: str) -> None:
    store = store_in(workplace("quotes"))
    wanted, _ = (store.create_run("r", {"sweep.owner": one}) for one in (name, "ann"))
    assert [run.info.run_id for run in store.runs({"sweep.owner": name})] == [wanted]
    with pytest.raises(InputError, match="has both kinds of quotes"):
        store.runs({"sweep.owner": "'\""})


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
