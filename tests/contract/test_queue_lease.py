"""One service keeps the queue of a store, be it a file or a server, until it ends or is killed."""

from __future__ import annotations

import json
import os
import queue
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.driver.lease import Lease
from lstm_sweep.search.service import queue as queue_module
from lstm_sweep.search.service.queue import ExperimentTags, QueueLease
from lstm_sweep.search.store.settings import Settings, load
from lstm_sweep.search.store.tags import Tag
from tests.servers import served

#: takes the lease of the store in folder 1 for folder 2, says so, and stays
SCRIPT = """
import sys, time
from pathlib import Path
from lstm_sweep.search.service.queue import QueueLease
from lstm_sweep.search.store.settings import load
kept = QueueLease(load(Path(sys.argv[1]), given=sys.argv[3]), Path(sys.argv[2]))
kept.keep(print)
print("kept", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module", params=["file", pytest.param("server", marks=pytest.mark.full)])
def settings(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """A store that is a file, and one that is a server."""
    folder = tmp_path_factory.mktemp("one-service")
    if request.param == "file":
        yield load(folder, given=f"sqlite:///{folder}/mlflow.db")
        return
    with served(folder) as url:
        yield load(folder, given=url)


@pytest.fixture
def other(settings: Settings, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another service, in a folder of its own."""
    uri = settings.tracking_uri
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), str(tmp_path / "other"), uri]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "kept\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_service_is_refused_with_a_line_that_names_the_first(
    settings: Settings, other: subprocess.Popen[str], tmp_path: Path
) -> None:
    named = rf"^another service, process {other.pid} on \S+, keeps the queue of "
    for folder in ("own", "other"):
        with pytest.raises(InputError, match=named):
            QueueLease(settings, tmp_path / folder)
    other.kill()
    other.wait()
    for _ in "ab":
        kept = QueueLease(settings, tmp_path / "own")
        with pytest.raises(InputError, match=f"process {os.getpid()} on"):
            QueueLease(settings, tmp_path / "another")
        kept.release()


def far_service(settings: Settings, beats: int) -> None:
    """Let the store have the lease of a service on another machine that was renewed so often."""
    store = ExperimentTags(settings)
    mine = replace(Lease(store, "").mine, machine="another machine", host="far", beat=beats)
    store.log("", tags={Tag.LEASE: json.dumps(asdict(mine) | {"token": "far"})})


def test_one_on_another_machine_is_taken_over_once_it_is_silent(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if settings.database_file:  # which is on this machine, and locked
        far_service(settings, 1)
        QueueLease(settings, tmp_path / "own").release()
        return
    far_service(settings, 1)
    monkeypatch.setattr(queue_module, "STALE_S", 3.0)
    read = ExperimentTags.tags
    renewals = iter(range(2, 100))

    def renewed(self: ExperimentTags, run_id: str) -> dict[str, str]:
        far_service(settings, next(renewals))
        return read(self, run_id)

    with monkeypatch.context() as patch:
        patch.setattr(ExperimentTags, "tags", renewed)
        with pytest.raises(InputError, match=re.escape("on far, keeps the queue")):
            QueueLease(settings, tmp_path / "own")
    QueueLease(settings, tmp_path / "own").release()


def test_a_service_whose_lease_was_taken_gives_way(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if settings.database_file:
        pytest.skip("the lock of its folder cannot be taken")
    monkeypatch.setattr(queue_module, "BEAT_S", 0.1)
    kept, lost = QueueLease(settings, tmp_path / "own"), queue.Queue[str]()
    kept.keep(lost.put)
    far_service(settings, 1)
    assert lost.get(timeout=60) == "another service has taken the queue over"
    kept.release()
    assert "far" in ExperimentTags(settings).tags("")[Tag.LEASE], "it is left as it is"
