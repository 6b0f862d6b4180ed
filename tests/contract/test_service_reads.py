"""What a service answers: the store is read once for all who ask, and no change is missed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from lstm_sweep.search.service.app import create_app
from lstm_sweep.search.service.service import Service
from lstm_sweep.search.service.settings import HttpSettings, ServiceSettings
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.cache import AGE_S, RACE_S, SharedSettings
from lstm_sweep.search.store.journal import FORMAT
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import MlflowStore
from tests.counted import CountedClient
from tests.drivers import let_drivers_idle
from tests.service_app import API, HERE, SPACE, send_corpus
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


def test_readers_of_what_does_not_change_cost_one_look(site: Site, client: TestClient) -> None:
    submit(client, "one")
    paths = [f"{API}/sweeps", f"{API}/sweeps/one", f"{API}/sweeps/one/trials", f"{API}/queue"]
    pages = ["/", "/sweeps/one", "/sweeps/one?sort=loss"]
    time.sleep(2 * RACE_S)
    site.service._shared.forget()
    site.read.asked.clear()
    first = {path: client.get(path).content for path in (*paths, *pages)}
    asked = site.read.asked.copy()
    assert asked == {"search_runs": 3}  # the list, the sweep, its trials
    site.clock.now += 2 * AGE_S
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


def test_what_a_driver_writes_is_seen(site: Site, client: TestClient) -> None:
    run_id = submit(client, "one")["run_id"]
    site.app.state.site.answers.forget()
    assert client.get(f"{API}/sweeps/one/trials").json()["trials"] == []
    driver = MlflowStore(site.store.settings)
    tags = {
        Tag.NAME: "one", Tag.TRIAL: "0", Tag.PHASE: "search", Tag.SEED: "0",
        Tag.CONFIG: json.dumps(SPACE), Tag.FORMAT: str(FORMAT), Tag.DATA: "{}",
    }  # fmt: skip
    driver.create_run("one/0", tags, run_id)
    assert len(reader.trials(driver, "one")) == 1
    site.clock.now += AGE_S
    site.app.state.site.answers.forget()
    assert len(client.get(f"{API}/sweeps/one/trials").json()["trials"]) == 1


def test_a_corpus_stays_that_a_sweep_needs_which_waits(site: Site, client: TestClient) -> None:
    data = send_corpus(client, b"sun moon river " * 400)
    place = f"{API}/corpora/{data.removeprefix('corpus:')}"
    submit(client, "one", data=data)
    refused = client.delete(place)
    assert (refused.status_code, "sweep 'one' needs it" in refused.text) == (409, True)
    client.post(f"{API}/sweeps/one/stop")
    assert client.delete(place).status_code == 204


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
