from __future__ import annotations

import itertools
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.store import cache, reader
from lstm_sweep.search.store.cache import (
    AGE_S,
    Cache,
    Changes,
    SharedSettings,
    SharedStore,
)
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.journal import SCHEMA
from lstm_sweep.search.store.tags import Tag
from tests.counted import CountedClient
from tests.sweeps import store_in


class Time:
    """A clock that tests set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Readers:
    """A store with two sweeps of two trials each, and those who read it."""

    def __init__(self, folder: Path) -> None:
        self.writer = store_in(folder)
        self.writer.prepare()
        self.time = Time()
        self.store = SharedStore(self.writer.settings, self.time)
        self.client = CountedClient(self.store.client)
        self.store.client = self.client
        self.settings = SharedSettings.of(self.store)
        self.sweeps = {name: self.sweep(name) for name in ("a", "b")}

    def sweep(self, name: str) -> str:
        """Make a sweep with two trials that run; its run."""
        tags = {Tag.ROLE: "sweep", Tag.NAME: name, Tag.STATE: "finished", Tag.SCHEMA: str(SCHEMA)}
        run_id = self.writer.create_run(name, tags)
        for number in range(2):
            self.trial(name, run_id, number)
        return run_id

    def trial(self, name: str, parent: str, number: int) -> str:
        """Make a trial that runs."""
        tags = {
            Tag.NAME: name, Tag.TRIAL: str(number), Tag.PHASE: "search", Tag.SEED: "0",
            Tag.SCHEMA: str(SCHEMA), Tag.ROUNDS_PER_EPOCH: "1",
        }  # fmt: skip
        run_id = self.writer.create_run(f"{name}-{number}", tags, parent)
        self.writer.log(run_id, metrics={"val_loss": 2.0, "best_val_loss": 2.0}, step=1)
        return run_id

    def children(self, name: str) -> dict[str, str]:
        """The outcomes of the trials of a sweep, as they are shared."""
        run = reader.existing_sweep(self.store, name)
        found = self.store.runs({Tag.PARENT: run.info.run_id})
        return {one.info.run_id: one.data.tags.get(Tag.OUTCOME, "") for one in found}

    def listed(self) -> dict[str, str]:
        """The states of all sweeps, as they are shared."""
        return {row.sweep: row.state for row in Local(self.settings).sweeps(limit=9)}

    def state(self, name: str) -> str:
        """The state of a sweep, as it is shared."""
        return str(reader.existing_sweep(self.store, name).data.tags[Tag.STATE])


@pytest.fixture(autouse=True)
def cost(monkeypatch: pytest.MonkeyPatch) -> Time:
    """What each request costs, seconds of a processor."""
    spent = Time()
    spent.now = 0.0
    read = itertools.count()
    monkeypatch.setattr("time.thread_time", lambda: spent.now * next(read))
    return spent


@pytest.fixture
def readers(tmp_path: Path) -> Readers:
    return Readers(tmp_path)


def test_many_readers_of_what_does_not_change_ask_the_store_once(readers: Readers) -> None:
    def read(number: int) -> tuple[Any, ...]:
        history = [readers.store.history(one, "val_loss") for one in readers.children("a")]
        listed = [row.sweep for row in Local(readers.settings).sweeps(limit=5)]
        losses = reader.baselines(readers.store, "a")
        return readers.state("a"), history, listed, losses

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(read, range(50)))
    assert found == [("finished", [{1: 2.0}, {1: 2.0}], ["b", "a"], {})] * 50
    # the sweep, its trials, the list of sweeps, and the history of each trial
    assert readers.client.asked == {"search_runs": 3, "get_metric_history": 2}
    readers.time.now += 3600
    read(0)
    assert readers.client.count == 5


def test_what_another_writes_is_seen_after_a_moment(readers: Readers) -> None:
    before = readers.children("a")
    new = readers.trial("a", readers.sweeps["a"], 2)
    assert readers.children("a") == before
    readers.time.now += AGE_S
    assert readers.children("a").keys() == {*before, new}
    assert readers.store.history(new, "val_loss") == {1: 2.0}
    readers.writer.log(new, metrics={"val_loss": 1.0}, step=2)
    readers.time.now += AGE_S
    readers.children("a")
    assert readers.store.history(new, "val_loss") == {1: 2.0, 2: 1.0}


def test_what_this_process_writes_is_seen_at_once(readers: Readers) -> None:
    for state, of in (("stopped", "a"), ("failed", None)):
        assert readers.state("a") != state and readers.listed()["a"] != state
        readers.writer.log(readers.sweeps["a"], tags={Tag.STATE: state})
        readers.store.forget(of)
        assert readers.state("a") == readers.listed()["a"] == state


def test_what_is_read_while_this_process_writes_is_not_kept(readers: Readers) -> None:
    readers.client.may.clear()
    with ThreadPoolExecutor(1) as threads:
        before = threads.submit(readers.state, "a")
        while not readers.client.count:
            pass
        readers.writer.log(readers.sweeps["a"], tags={Tag.STATE: "stopped"})
        readers.store.forget()
        readers.client.may.set()
        before.result()
    assert readers.state("a") == "stopped"


def test_a_sweep_that_has_ended_is_seen_with_all_its_trials(readers: Readers) -> None:
    readers.writer.log(readers.sweeps["a"], tags={Tag.STATE: "running"})
    first, second = readers.children("a")
    readers.writer.log(second, tags={Tag.OUTCOME: "complete"})
    readers.writer.log(readers.sweeps["a"], tags={Tag.STATE: "finished"})
    readers.time.now += AGE_S
    assert readers.state("a") == "finished"
    assert readers.children("a") == {first: "", second: "complete"}


def test_another_sweep_in_the_place_of_one_that_was_deleted_is_read(readers: Readers) -> None:
    assert readers.state("a") == "finished"
    readers.writer.client.delete_run(readers.sweeps["a"])
    tags = {Tag.ROLE: "sweep", Tag.NAME: "a", Tag.STATE: "queued", Tag.SCHEMA: str(SCHEMA)}
    readers.writer.create_run("a", tags)
    readers.time.now += AGE_S
    assert (readers.state("a"), readers.children("a")) == ("queued", {})


def test_a_fault_is_not_kept(readers: Readers) -> None:
    readers.client.fault = ConnectionError("away")
    for count in (1, 2):
        with pytest.raises(StoreError, match="away"):
            readers.state("a")
        assert readers.client.count == count
    readers.client.fault = None
    assert readers.state("a") == "finished"


def test_what_is_kept_is_bounded_in_bytes_also_of_what_is_nothing_or_fails() -> None:
    def fails() -> None:
        raise ValueError("no")

    kept = Cache(None)
    for number in range(2_000):
        kept.get(("nothing", number), lambda: None, lambda value: 0)
        with pytest.raises(ValueError, match="no"):
            kept.get(("fails", number), fails, lambda value: 0)
    assert len(kept) == 2_000 and kept.size <= cache.MOST_BYTES
    for number in range(10):
        kept.get(("large", number), lambda: None, lambda value: cache.MOST_BYTES // 4)
    assert len(kept) == 3 and kept.size <= cache.MOST_BYTES
    kept.get(("huge",), lambda: None, lambda value: 2 * cache.MOST_BYTES)
    assert len(kept) == 1
    kept.drop(lambda key: True)
    assert (len(kept), kept.size) == (0, 0)


WRITE = """
import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as connection:
    connection.execute("INSERT INTO runs VALUES (2)")
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "a store.db"
    with closing(sqlite3.connect(made)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE runs (number)")
    return made


def write(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("INSERT INTO runs VALUES (1)")


def test_a_mark_stays_until_a_connection_of_this_process_or_another_writes(file: Path) -> None:
    changes = Changes(file)
    first = changes.mark()
    with closing(sqlite3.connect(file)) as reader:
        reader.execute("SELECT * FROM runs").fetchall()
    assert first is not None and changes.mark() == first
    write(file)
    second = changes.mark()
    assert second != first and changes.mark() == second
    subprocess.run([sys.executable, "-c", WRITE, str(file)], check=True)
    assert changes.mark() not in (first, second)


def test_a_file_in_the_place_of_another_is_a_change(file: Path, tmp_path: Path) -> None:
    shutil.copy(file, tmp_path / "earlier.db")
    changes = Changes(file)
    first = changes.mark()
    (tmp_path / "earlier.db").rename(file)
    assert changes.mark() != first


def test_it_keeps_no_lock_that_others_wait_for(file: Path) -> None:
    changes = Changes(file)
    assert changes.mark() is not None
    write(file)
    assert changes.mark() is not None
    with closing(sqlite3.connect(file, timeout=0)) as connection:
        busy, logged, moved = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert (busy, logged, moved) == (0, 0, 0)
