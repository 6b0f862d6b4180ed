"""What a service answers: the store is read once for all who ask, and no change is missed."""

from __future__ import annotations

import json
import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions import references
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.actions.sweeps import unfinished
from lstm_sweep.search.driver.lease import Lease
from lstm_sweep.search.service import queue as queue_module
from lstm_sweep.search.service.app import create_app
from lstm_sweep.search.service.queue import ExperimentTags, QueueLease
from lstm_sweep.search.service.service import Service
from lstm_sweep.search.service.settings import HttpSettings, ServiceSettings
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.cache import SharedSettings, SharedStore
from lstm_sweep.search.store.faults import NoSuchRunError
from lstm_sweep.search.store.journal import FORMAT
from lstm_sweep.search.store.settings import Settings, load
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import MlflowStore
from tests.fakes import CountedClient
from tests.servers import served
from tests.service_app import API, HERE, SPACE, let_drivers_idle, send_corpus
from tests.sweeps import store_in


class Time:
    """A clock that tests set: nothing is read anew since time has passed."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Site:
    """A service with two slots whose drivers do nothing, and its app."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.store, self.clock = store_in(folder), Time()
        state = folder / "state"
        given = ServiceSettings(store=self.store.settings, folder=folder, state=state, slots=2)
        self.service = Service(given, self.clock)
        assert isinstance(self.service.reads, SharedSettings)
        shared = self.service.reads.shared
        self.read = shared.client = CountedClient(shared.client)
        own = folder / "http"
        own.mkdir(mode=0o700)
        settings = HttpSettings(folder=own, data_roots=(data.parent,), remembered_s=60.0)
        self.app = create_app(self.service, settings)


@pytest.fixture
def site(
    workplace: Callable[[str], Path], data: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    folder = workplace("reads")
    let_drivers_idle(folder, monkeypatch)
    made = Site(folder, data)
    yield made
    made.service.drain()


@pytest.fixture
def client(site: Site) -> Iterator[TestClient]:
    with TestClient(site.app, base_url=HERE) as client:
        yield client


def submit(client: TestClient, name: str, data: str = "server:words.txt") -> dict[str, Any]:
    body = {"data": data, "space": SPACE, "size_rule": "off", "name": name}
    found = client.post(f"{API}/sweeps", json=body)
    assert found.status_code == 201, found.text
    return dict(found.json())


def states(client: TestClient) -> dict[str, str]:
    listed = client.get(f"{API}/sweeps").json()["sweeps"]
    found = {one["sweep"]: one["state"] for one in listed}
    for name, state in found.items():
        assert client.get(f"{API}/sweeps/{name}").json()["state"] == state
        assert f">{name}</a>" in client.get("/").text
    return found


def test_a_client_that_changes_something_reads_its_change(site: Site, client: TestClient) -> None:
    assert states(client) == {}
    assert submit(client, "one")["state"] == "queued"
    assert states(client) == {"one": "queued"}
    submit(client, "two")
    assert states(client) == {"one": "queued", "two": "queued"}
    client.patch(f"{API}/sweeps/two", json={"priority": 5})
    queue = client.get(f"{API}/queue").json()["queue"]
    assert [(one["sweep"], one["priority"]) for one in queue] == [("two", 5), ("one", 0)]
    assert client.post(f"{API}/sweeps/one/pause").json()["state"] == "paused"
    assert states(client) == {"one": "paused", "two": "queued"}
    assert client.post(f"{API}/sweeps/one/resume", json={}).json()["state"] == "queued"
    assert states(client) == {"one": "queued", "two": "queued"}
    assert client.post(f"{API}/sweeps/two/stop").json()["state"] == "stopped"
    assert states(client) == {"one": "queued", "two": "stopped"}


def test_all_who_read_within_a_moment_cost_one_look(site: Site, client: TestClient) -> None:
    submit(client, "one")
    paths = [f"{API}/sweeps", f"{API}/sweeps/one", f"{API}/sweeps/one/trials", f"{API}/queue"]
    pages = ["/", "/sweeps/one", "/sweeps/one?sort=loss"]
    site.service._shared.forget()
    site.read.asked.clear()
    first = {path: client.get(path).content for path in (*paths, *pages)}
    asked = site.read.asked.copy()
    assert asked == {"search_runs": 3}  # the list, the sweep, its trials
    site.app.state.site.answers.forget()
    for _ in range(20):
        assert {path: client.get(path).content for path in (*paths, *pages)} == first
    assert site.read.asked == asked


def test_while_the_store_fails_the_queue_is_what_it_was(site: Site, client: TestClient) -> None:
    submit(client, "one")
    service = site.service
    service._try_to_look()
    known = service.queue()
    broken = CountedClient(service._store.client)
    broken.fault, service._store.client = ConnectionError("away"), broken
    service._shared.forget()
    service._try_to_look()
    assert (service.queue(), service.figures["failed_looks"]) == (known, 1)
    assert "away" in service.ready()
    broken.fault = None
    service._try_to_look()
    assert ([one.sweep for one in service.queue()], service.ready()) == (["one"], "")


def test_no_sweep_is_submitted_whose_corpus_is_deleted_just_now(
    site: Site, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = send_corpus(client, b"sun moon river " * 400)
    uploads = site.app.state.site.uploads
    delete, looked, may = uploads.delete, threading.Event(), threading.Event()

    def delete_later(corpus_id: str) -> None:
        looked.set()
        may.wait(60)
        delete(corpus_id)

    monkeypatch.setattr(uploads, "delete", delete_later)
    with ThreadPoolExecutor(2) as pool:
        deleting = pool.submit(client.delete, f"{API}/corpora/{data.removeprefix('corpus:')}")
        assert looked.wait(60)
        submitting = pool.submit(submit, client, "one", data=data)
        with pytest.raises(TimeoutError):
            submitting.result(1)
        may.set()
        assert deleting.result().status_code == 204
        with pytest.raises(AssertionError):
            submitting.result()
    assert client.get(f"{API}/sweeps").json()["sweeps"] == []


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
    until = time.monotonic() + 60
    while lost.empty() and time.monotonic() < until:  # a renewal under way writes over it
        far_service(settings, 1)
        time.sleep(0.5)
    assert lost.get_nowait() == "another service has taken the queue over"
    kept.release()
    assert "far" in ExperimentTags(settings).tags("")[Tag.LEASE], "it is left as it is"


#: sweeps of the store, of which two wait
SWEEPS = 150


class Counted:
    """A client that counts the runs that it is given."""

    def __init__(self, client: Any) -> None:
        self._client, self.runs, self.searches = client, 0, 0

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **more: Any) -> Any:
            found = getattr(self._client, name)(*arguments, **more)
            self.searches += 1
            self.runs += len(found) if name == "search_runs" else 1
            return found

        return call


@pytest.fixture(scope="module")
def store(workplace: Callable[[str], Path]) -> MlflowStore:
    made = store_in(workplace("many"))
    made.prepare()
    common = {Tag.ROLE: "sweep", Tag.FORMAT: str(FORMAT)}
    for number in range(SWEEPS):
        state = "queued" if number < 2 else "finished"
        made.create_run("s", {**common, Tag.NAME: f"s-{number}", Tag.STATE: state})
    return made


@pytest.mark.parametrize(
    "request_of, most",
    [
        (lambda settings, store: Local(settings).sweeps(limit=20), 20),
        (lambda settings, store: Local(settings).status("s-3"), 1),
        (lambda settings, store: refused(Local(settings).status, "none"), 5),
        (lambda settings, store: refused(Local(settings).show, "none/1"), 5),
        (lambda settings, store: refused(Local(settings).show, "s-3/1"), 6),
        (lambda settings, store: refused(Local(settings).show, "a"), 0),
        (lambda settings, store: refused(Local(settings).show, "abcd"), 0),
        (lambda settings, store: unfinished(Local(settings)), 2),
        (lambda settings, store: references.free_name(store, "s"), 20),
    ],
)
def test_a_request_reads_few_of_many(store: MlflowStore, request_of: Any, most: int) -> None:
    shared = SharedStore(store.settings)
    counted = shared.client = Counted(shared.client)
    request_of(SharedSettings.of(shared), shared)
    assert counted.runs <= most and counted.searches <= 5


def refused(call: Any, reference: str) -> None:
    with pytest.raises(NoSuchRunError):
        call(reference)


def test_pages_have_each_sweep_once_newest_first_also_of_what_cannot_be_read(
    store: MlflowStore,
) -> None:
    store.create_run("x", {Tag.ROLE: "sweep", Tag.NAME: "no name", Tag.FORMAT: str(FORMAT)})
    names, page, left_out = list[str](), "", 0
    while page or not names:
        found = Local(store.settings).sweeps(limit=40, page=page)
        assert len(found) <= 40
        names += [row.sweep for row in found]
        left_out += len(found.left_out)
        page = found.next_page
    assert (names, left_out) == ([f"s-{number}" for number in reversed(range(SWEEPS))], 1)
    assert [row.sweep for row in Local(store.settings).sweeps()] == names
    assert len(reader.sweeps(store)) == SWEEPS
