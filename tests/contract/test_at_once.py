"""A store that several processes open for the first time at the same moment."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tracking import MlflowStore
from tests import postgres
from tests.conftest import TINY, run_here, start_program, write_text

ROOT = Path(__file__).parents[2]
ROUNDS = 3
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


class Openers:
    """Two processes that open a store at the same moment."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        command = [sys.executable, "-c", OPENER]
        both = [
            subprocess.Popen(command, cwd=ROOT, stdin=PIPE, stdout=PIPE, text=True)
            for _ in range(2)
        ]
        self._both: list[Any] = [stack.enter_context(one) for one in both]
        assert self._answers() == ["ready", "ready"]

    def open(self, address: str, experiment: str) -> list[str]:
        """The ID that each found, or the error."""
        for process in self._both:
            process.stdin.write(f"{address} {experiment}\n")
        for process in self._both:
            process.stdin.flush()
        return self._answers()

    def _answers(self) -> list[str]:
        return [process.stdout.readline().strip() for process in self._both]


@pytest.fixture(scope="module")
def openers() -> Iterator[Openers]:
    with contextlib.ExitStack() as stack:
        yield Openers(stack)


def ids_of(experiment: str, answers: Sequence[str], address: str) -> None:
    """Both have opened the store, and found the same experiment."""
    store = MlflowStore(Settings(address, None, experiment, "test"))
    assert answers == [store.experiment.id] * 2


@pytest.mark.full
@pytest.mark.parametrize("turn", range(2))
def test_two_make_the_sqlite_store_of_an_empty_folder_at_once(
    openers: Openers, tmp_path: Path, turn: int
) -> None:
    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    ids_of("first", openers.open(address, "first"), address)
    assert {path.name for path in tmp_path.iterdir()} <= {
        *("mlflow.db", "mlflow.db-wal", "mlflow.db-shm"),
    }
    for again in range(ROUNDS):
        ids_of(f"again{again}", openers.open(address, f"again{again}"), address)


@pytest.mark.full
def test_two_make_the_same_experiment_in_postgresql_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with postgres.running() as cluster, contextlib.ExitStack() as stack:
        for name, value in cluster.login.items():
            monkeypatch.setenv(name, value)
        address = cluster.address("postgres")
        MlflowStore(Settings(address, None, "other", "test"))  # makes the tables
        openers = Openers(stack)
        for turn in range(ROUNDS):
            ids_of(f"e{turn}", openers.open(address, f"e{turn}"), address)


@pytest.mark.full
def test_two_first_launches_in_an_empty_folder_both_work(tmp_path: Path) -> None:
    write_text(tmp_path / "words.txt")
    given = ("--data", "words.txt", *TINY, "--trials", "1", "--workers", "1")
    both = [start_program("launch", *given, "--name", name, cwd=tmp_path) for name in ("a", "b")]
    said = [process.communicate(300) for process in both]
    assert [process.wait() for process in both] == [0, 0], said
    listed = run_here("sweeps", "--json", cwd=tmp_path).json
    assert {(row["sweep"], row["state"]) for row in listed} == {
        ("a", "finished"),
        ("b", "finished"),
    }
