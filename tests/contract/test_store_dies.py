"""A store that fails while the program runs a sweep: what it prints, and how it ends."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

import lstm_sweep as ls
from lstm_sweep.search.actions import references
from tests.conftest import TINY, run_here
from tests.fakes import ScriptedEngine

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
