from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from lstm_sweep.search.store.cache import Changes

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
