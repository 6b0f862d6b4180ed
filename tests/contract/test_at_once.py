"""A store that several processes open for the first time at the same moment."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE
from unittest import mock

import pytest

from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tracking import MlflowStore
from tests import postgres
from tests.conftest import TINY, run_here, start_program, write_text

pytestmark = pytest.mark.full

ROOT = Path(__file__).parents[2]
ROUNDS = 4
#: opens the store and makes the experiment that each line of its input names, and prints its ID
OPENER = """
import sys
import mlflow
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tracking import MlflowStore
print("ready", flush=True)
for line in sys.stdin:
    address, experiment = line.split()
    try:
        store = MlflowStore(Settings(address, None, experiment, "test"))
        store.prepare()
        print(store.experiment.id, flush=True)
    except Exception as error:
        print(error, flush=True)
"""


def open_at_once(*addresses: str) -> None:
    """Have two processes open each store at the same moment, for one experiment after the other."""
    command = [sys.executable, "-c", OPENER]
    with contextlib.ExitStack() as stack:
        both = [
            stack.enter_context(
                subprocess.Popen(command, cwd=ROOT, stdin=PIPE, stdout=PIPE, text=True)
            )
            for _ in range(2)
        ]

        def answers() -> list[str]:
            return [one.stdout.readline().strip() for one in both if one.stdout]

        assert answers() == ["ready", "ready"]
        for address, turn in itertools.product(addresses, range(ROUNDS)):
            for process in both:
                print(address, f"e{turn}", file=process.stdin)
            for process in both:
                process.stdin.flush() if process.stdin else None
            found = answers()
            store = MlflowStore(Settings(address, None, f"e{turn}", "test"))
            assert found == [store.experiment.id] * 2


def test_two_make_the_sqlite_store_of_an_empty_folder_at_once(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    open_at_once(*(f"sqlite:///{folder / 'mlflow.db'}" for folder in folders))
    left = {path.name for folder in folders for path in folder.iterdir()}
    assert left <= {"mlflow.db", "mlflow.db-wal", "mlflow.db-shm"}


def test_two_make_the_same_experiment_in_postgresql_at_once() -> None:
    with postgres.running() as cluster, mock.patch.dict(os.environ, cluster.login):
        address = cluster.address("postgres")
        MlflowStore(Settings(address, None, "other", "test"))  # makes the tables
        open_at_once(address)


def test_two_first_launches_in_an_empty_folder_both_work(tmp_path: Path) -> None:
    write_text(tmp_path / "words.txt")
    given = ("--data", "words.txt", *TINY, "--trials", "1", "--workers", "1")
    both = [start_program("launch", *given, "--name", name, cwd=tmp_path) for name in ("a", "b")]
    said = [process.communicate(300) for process in both]
    assert [process.wait() for process in both] == [0, 0], said
    listed = run_here("sweeps", "--json", cwd=tmp_path).json
    assert {row["sweep"]: row["state"] for row in listed} == {"a": "finished", "b": "finished"}
