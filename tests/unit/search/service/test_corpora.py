from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.testclient import TestClient

from lstm_sweep.search.actions.transfers import corpus_id_of
from lstm_sweep.search.service import app as routes
from lstm_sweep.search.service.settings import Limits
from tests.service_app import API, SPACE, Place, send_corpus, use_scripted_engines

CONTENT = b"sun moon river " * 200
ID = corpus_id_of("a.txt", {"a.txt": hashlib.sha256(CONTENT).hexdigest()}, is_folder=False)
PLACE = f"{API}/corpora/{ID}"
KIND = {"Content-Type": "application/octet-stream"}


@pytest.fixture
def place(workplace: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Place:
    use_scripted_engines(monkeypatch)
    return Place.in_folder(workplace("corpora"), limits=Limits(request_bytes=2_000))


@pytest.fixture
def client(place: Place) -> Iterator[TestClient]:
    with place.client() as client:
        yield client


def send(client: TestClient, content: Any = CONTENT, name: str = "a.txt", **headers: str) -> Any:
    return client.put(PLACE, params={"name": name}, content=content, headers=KIND | headers)


def announced(client: TestClient, **more: Any) -> Any:
    return client.post(f"{API}/corpora", json={"id": ID, "name": "a.txt", "bytes": 3_000} | more)


def left(place: Place) -> list[str]:
    return [one.name for one in (place.settings.folder / "uploads" / "coming").iterdir()]


def test_a_file_is_announced_sent_searched_and_deleted(client: TestClient, place: Place) -> None:
    assert announced(client).json() == {"id": ID, "data": f"corpus:{ID}", "is_there": False}
    made = send(client)  # it has more bytes than other bodies may have
    assert (made.status_code, client.get(PLACE).json()) == (201, made.json())
    assert announced(client).json()["is_there"]
    assert client.get(f"{API}/corpora").json() == {"corpora": [made.json()]}
    body = {"data": made.json()["data"], "space": SPACE, "size_rule": "off", "trials": 1}
    assert client.post(f"{API}/sweeps", json=body).json()["sweep"] == "a-1"
    rerun = client.post(f"{API}/sweeps/a-1/trials/0/reruns").json()["id"]
    refused = client.delete(PLACE)
    assert refused.status_code == 409
    assert "a rerun of trial 'a-1/0' needs it, which is queued" in refused.json()["detail"]
    place.service._reruns.note_end(rerun, 0)
    assert client.delete(PLACE).status_code == 204
    assert client.get(PLACE).status_code == 404
    assert left(place) == []


def test_a_corpus_that_a_sweep_needs_is_kept_when_the_folder_has_moved(
    client: TestClient, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(client)
    link = place.settings.folder.with_name("before")
    link.symlink_to(place.settings.folder)
    data = str(link / "uploads" / "corpora" / ID / "content" / "a.txt")
    waiting = SimpleNamespace(data=data, sweep="s", state="queued")
    monkeypatch.setattr(routes, "unfinished", lambda home: [waiting])
    refused = client.delete(PLACE)
    assert (refused.status_code, "sweep 's' needs it" in refused.json()["detail"]) == (409, True)
    waiting.data = str(link / "uploads" / "corpora" / ("0" * 32) / "content" / "a.txt")
    assert client.delete(PLACE).status_code == 204


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-tar"}, 422),
        ({"name": "../a.txt"}, 422),
        ({"name": ""}, 422),
        ({"name": "x" * 201}, 422),
        ({"content": CONTENT[::-1]}, 409),
        ({"content": b""}, 409),
    ],
)
def test_what_is_no_upload_is_refused_and_leaves_nothing(
    place: Place, client: TestClient, given: dict[str, Any], status: int
) -> None:
    refused = send(client, **given)
    assert refused.status_code == status and refused.json()["detail"]
    assert client.get(f"{API}/corpora").json() == {"corpora": []}
    assert left(place) == []


@pytest.mark.parametrize("corpus_id", ["abc", "..%2F..%2Ftokens.json", ID.upper(), ID + "0"])
def test_what_is_no_id_names_no_corpus(client: TestClient, corpus_id: str) -> None:
    path = f"{API}/corpora/{corpus_id}"
    sent = client.put(path, params={"name": "a.txt"}, content=CONTENT, headers=KIND)
    assert {sent.status_code, client.get(path).status_code} <= {404, 422}


def test_an_upload_that_breaks_off_leaves_nothing(place: Place, client: TestClient) -> None:
    def broken() -> Iterator[bytes]:
        yield CONTENT[:100]
        raise RuntimeError

    assert send(client, broken()).status_code == 500
    assert left(place) == []
    assert send_corpus(client, CONTENT) == f"corpus:{ID}"
