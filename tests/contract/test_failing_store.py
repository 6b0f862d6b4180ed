"""A store of which one request fails, at each in turn, and the same call again in one process."""

from __future__ import annotations

import contextlib
import errno
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

import lstm_sweep as ls
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.rounds import RoundDone
from lstm_sweep.search.actions import references
from lstm_sweep.search.actions.rerun import train_again
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.memory import MemoryStore
from tests.chaos.test_every_call import Failing
from tests.conftest import TINY, run_here, run_program
from tests.contract.sittings import four_trials
from tests.fakes import ScriptedEngine
from tests.sweeps import LOSSES


def test_a_rerun_that_failed_can_be_called_again(corpus: Corpus, data: Path) -> None:
    """A launch and a resume are in `tests/chaos`, with the same store."""
    store = Failing()
    four_trials(store, corpus, data).run()
    record = reader.find_trial(store, "s/1")

    def rerun(at: int = 0) -> None:
        store.at, store.calls = at, 0
        assert train_again(store, record, ScriptedEngine(LOSSES), {}).verdict == "identical"

    rerun()
    calls = store.calls
    assert calls > 10
    for at in range(1, calls + 1):
        with suppress(StoreError):
            rerun(at)
        rerun()
        runs = store.runs({"sweep.phase": "rerun"})
        assert {run.info.status for run in runs} <= {"FINISHED", "FAILED", "KILLED"}, f"call {at}"


ONE = ("--trials", "1", "--confirm-configs", "0", "--on", "inline", "--name", "s")
#: the same for Python
FIELDS: dict[str, Any] = {
    "space": {"layer_size": 8, "sequence_length": 10, "stride": 10, "epochs": 1}, "trials": 1,
    "targets": 500, "size_rule": "off", "name": "s", "on": "inline",
}  # fmt: skip


@pytest.fixture
def full_at_first_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store in which nothing can be written from the first epoch on."""
    log_batch = MlflowClient.log_batch
    monkeypatch.setattr(references, "open_engine", lambda name, **more: ScriptedEngine({0: [3.0]}))

    def write(client: Any, run_id: str, metrics: Any = (), *more: Any, **named: Any) -> Any:
        if any(metric.key == "epochs_done" for metric in metrics):
            raise OSError(errno.ENOSPC, "full")
        return log_batch(client, run_id, metrics, *more, **named)

    monkeypatch.setattr(MlflowClient, "log_batch", write)


@pytest.mark.usefixtures("full_at_first_epoch")
def test_a_sweep_that_a_full_disk_ends_prints_its_json_or_what_goes_on_with_it(
    workplace: Callable[[str], Path], data: Path
) -> None:
    folder = workplace("full")
    done = run_here("launch", "--data", data, *TINY, *ONE, "--json", cwd=folder)
    assert (done.code, done.json["state"]) == (1, "failed")
    assert "no space left" in done.err.splitlines()[-1]
    done = run_here("resume", "s", cwd=folder)
    assert done.code == 1
    assert "no space left" in done.err.splitlines()[-1]
    assert "failed: store " in done.out
    assert "resume s  " in done.out


@pytest.mark.usefixtures("full_at_first_epoch")
def test_so_does_the_error_in_python_and_the_same_process_can_go_on(
    workplace: Callable[[str], Path], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = workplace("python")
    with pytest.raises(ls.StoreError, match="no space left") as caught:
        ls.launch(data=data, store=store, **FIELDS)
    assert caught.value.__notes__ == [
        "sweep 's': the store failed at its end, so runs were left open; "
        "lstm_sweep.sweep('s').resume() closes them and goes on"
    ]
    monkeypatch.undo()
    monkeypatch.setattr(references, "open_engine", lambda name, **more: ScriptedEngine({0: [3.0]}))
    sweep = ls.sweep("s", store=store)
    sweep.resume()
    assert sweep.status().state == "finished"


def test_a_database_that_hangs_up_is_one_clear_line_and_is_not_asked_again(tmp_path: Path) -> None:
    calls = list[object]()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with contextlib.suppress(OSError):  # the server is shut down
                while True:
                    connection, caller = server.accept()
                    calls.append(caller)
                    connection.close()

        answering = threading.Thread(target=answer)
        answering.start()
        uri = f"postgresql://127.0.0.1:{server.getsockname()[1]}/runs"
        environment: dict[str, Any] = {"MLFLOW_TRACKING_URI": uri, "PGSSLMODE": "disable"}
        try:
            done = run_program("sweeps", cwd=tmp_path, **environment)
        finally:
            server.shutdown(socket.SHUT_RDWR)
            answering.join()
    assert (done.code, done.out) == (2, "")
    [line] = done.err.splitlines()
    assert line.startswith("lstm-sweep: store postgresql://")
    assert len(calls) == 1


def test_a_folder_that_cannot_be_written_is_called_so(tmp_path: Path) -> None:
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "import mlflow.tracking\n"  # before the user changes, who may not read libraries
        "from lstm_sweep.models.errors import InputError\n"
        "from lstm_sweep.search.store.settings import load\n"
        "from lstm_sweep.search.store.tracking import MlflowStore\n"
        "settings = load(Path.cwd())\n"
        "if os.geteuid() == 0:\n    os.setuid(65534)\n"  # root may write anywhere
        "try:\n    MlflowStore(settings)\n"
        "except InputError as error:\n    sys.exit(str(error))\n"
    )
    folder = tmp_path / "kept"
    folder.mkdir(mode=0o555)
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 1
    assert f"the folder {folder} cannot be written; expected one that can" in ran.stderr


# Files that find no space: a full disk, a folder that cannot be made


def test_a_trial_without_room_for_its_folder_ends_the_sweep_with_one_line(
    corpus: Corpus, data: Path, cache: Path
) -> None:
    store = MemoryStore()

    def take_its_place(message: RoundDone) -> None:
        (cache / reader.sweeps(store)[0].info.run_id / "1").write_text("no folder")

    engine = ScriptedEngine(LOSSES, watch=take_its_place)
    with pytest.raises(StoreError, match=r"folder .*/1: File exists, expected room to work"):
        four_trials(store, corpus, data, engine=engine).run()
    assert {run.info.status for run in store.runs()} == {"FINISHED", "FAILED"}
