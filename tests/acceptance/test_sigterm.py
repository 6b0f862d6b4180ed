"""SIGTERM ends a sweep in ten seconds, which is what containers get, whatever the store does.

So does a terminal that closes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import sqlite3
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lstm_sweep.search.process import signals
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.settings import load
from lstm_sweep.search.store.tracking import MlflowStore, Store
from tests.conftest import (
    TINY,
    outside,
    processes_of_group,
    run_here,
    start_alone,
    wait_until,
    write_text,
)
from tests.launcher import PROGRAM, Started
from tests.servers import Server, proxy_of

#: seconds until a test gives up waiting for the end of the program, on a machine that is busy
END_WITHIN_S = 30


def test_the_program_leaves_a_container_time_to_end() -> None:
    assert signals.END_WITHIN_S < 10


@contextmanager
def two_at_work(
    folder: Path, store: Store, environment: dict[str, str] | None = None, number: int = 2
) -> Iterator[Started]:
    """A sweep with two workers that would train for hours, once both have told of an epoch.

    Or with another `number` of them.
    """
    launch = ["launch", "--data", "words.txt", "--name", "s", "--json", "--workers", str(number)]
    write_text(folder / "words.txt")
    process = start_alone(
        *(*launch, *TINY, "--trials", str(number), "--epochs", "100000"),
        cwd=folder,
        **environment or {},
    )
    try:
        wait_until(
            lambda: [r.epochs > 0 for r in reader.trials(store, "s")] == [True] * number, process
        )
        yield process
    finally:
        process.kill()
        process.wait()


def checkpoints_of(folder: Path) -> list[float]:
    """When the checkpoints below a folder were written, seconds since the epoch."""
    return [file.stat().st_mtime for file in folder.rglob("checkpoint.npz")]


def check_closed(store: Store, trials: int) -> None:
    """All runs are closed, and none that has a result looks like a failure in MLflow."""
    records = reader.trials(store, "s")
    assert [record.outcome for record in records] == ["stopped"] * trials
    for record in records:
        assert record.status == ("KILLED" if record.best_loss is None else "FINISHED")
    expected = {"KILLED" if all(one.best_loss is None for one in records) else "FINISHED"}
    assert {run.info.status for run in store.runs({"sweep.role": "sweep"})} == expected


def check_goes_on(folder: Path, store: Store, **environment: str) -> None:
    """The sweep goes on, and leaves no run open."""
    resumed = run_here("resume", "s", "--minutes", "0.01", "--json", cwd=folder, **environment)
    assert resumed.code in (0, 1), resumed.err
    assert "RUNNING" not in {record.status for record in reader.trials(store, "s")}


def test_it_closes_its_runs_and_leaves_no_process(workplace: Callable[[str], Path]) -> None:
    folder = workplace("terminated")
    store = MlflowStore(load(folder, {}))
    with two_at_work(folder, store) as process:
        process.terminate()
        assert process.wait(END_WITHIN_S) == 143
        assert processes_of_group(process.pid) == []
    check_closed(store, 2)


@pytest.mark.full
def test_a_database_that_is_locked_does_not_delay_it(workplace: Callable[[str], Path]) -> None:
    folder = workplace("locked")
    store = MlflowStore(load(folder, {}))
    cache = {"XDG_CACHE_HOME": str(folder / "cache")}
    with two_at_work(folder, store, cache) as process:
        locked = sqlite3.connect(folder / "mlflow.db", timeout=60, isolation_level=None)
        locked.execute("BEGIN EXCLUSIVE")
        since = time.time()
        # a round has ended since, so the program waits for the database to write it
        wait_until(lambda: any(at > since for at in checkpoints_of(folder)), process)
        process.terminate()
        assert process.wait(END_WITHIN_S) == 143
        assert processes_of_group(process.pid) == []
        locked.close()
    check_goes_on(folder, store, **cache)


@pytest.mark.full
def test_a_server_under_load_gets_the_ends_of_all_runs(workplace: Callable[[str], Path]) -> None:
    folder = workplace("loaded")
    server = Server(folder)
    try:
        near = server.start()
        store = MlflowStore(load(folder, {"MLFLOW_TRACKING_URI": near}))
        with proxy_of(near) as proxy:
            # 40 seconds, of which 24 are for requests, so that a busy machine changes nothing
            there = {"MLFLOW_TRACKING_URI": proxy.address, "LSTM_SWEEP_STOP_WITHIN_S": "40"}
            with two_at_work(folder, store, there, 4) as process:
                proxy.delay_s = 1.2
                process.terminate()
                _, err = process.communicate(2 * END_WITHIN_S)
                assert process.wait() == 143
            assert "left open" not in err
        check_closed(store, 4)
    finally:
        server.stop()


@pytest.mark.full
def test_a_terminal_that_closes_ends_it_and_resume_goes_on(
    workplace: Callable[[str], Path],
) -> None:
    folder = workplace("closed")
    store = MlflowStore(load(folder, {}))
    write_text(folder / "words.txt")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [
            PROGRAM, "launch", "--data", "words.txt", "--name", "s", "--workers", "1", *TINY,
            "--trials", "1", "--epochs", "100000",
        ],
        cwd=folder, env=outside() | {"TERM": "xterm"}, stdin=theirs, stdout=theirs, stderr=theirs,
        text=True, start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(theirs)
    os.set_blocking(ours, False)

    def is_trained() -> bool:
        with contextlib.suppress(BlockingIOError):  # what it shows must be read, or it waits
            while os.read(ours, 1 << 16):
                pass
        return any(record.epochs for record in reader.trials(store, "s"))

    try:
        wait_until(is_trained, process)
        os.close(ours)
        assert process.wait(60) == 128 + signal.SIGHUP
        assert processes_of_group(process.pid) == []
    finally:
        process.kill()
        process.wait()
    check_closed(store, 1)
    check_goes_on(folder, store)
