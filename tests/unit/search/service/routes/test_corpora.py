from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from lstm_sweep.search.service.http_settings import Limits
from tests.service_app import API, SPACE, Place, use_scripted_engines

CONTENT = b"sun moon river " * 200
DIGEST = hashlib.sha256(CONTENT).hexdigest()
UPLOAD = f"{API}/uploads/{DIGEST}"
KIND = {"Content-Type": "application/octet-stream", "Upload-Length": str(len(CONTENT))}


@pytest.fixture
def place(workplace: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Place:
    use_scripted_engines(monkeypatch)
    return Place.in_folder(workplace("corpora"), limits=Limits(request_bytes=2_000))


@pytest.fixture
def client(place: Place) -> Iterator[TestClient]:
    with place.client() as client:
        yield client


def send(client: TestClient, content: bytes, offset: int = 0, **headers: Any) -> Any:
    return client.patch(
        UPLOAD, content=content, headers=KIND | {"Upload-Offset": str(offset)} | headers
    )


def test_a_file_is_sent_in_parts_and_searched(client: TestClient) -> None:
    assert client.get(UPLOAD).json()["offset"] == 0
    assert (
        send(client, CONTENT[:2_500]).json()["offset"] == 2_500
    )  # more than other bodies may have
    refused = send(client, CONTENT[:2_500])
    assert (refused.status_code, refused.json()["offset"]) == (409, 2_500)
    assert send(client, CONTENT[2_500:], 2_500).json()["complete"]
    given = {"name": "a.txt", "files": [{"path": "a.txt", "sha256": DIGEST}]}
    made = client.post(f"{API}/corpora", json=given)
    assert (made.status_code, client.get(made.headers["location"]).json()) == (201, made.json())
    assert client.get(f"{API}/corpora").json() == {"corpora": [made.json()]}
    body = {"data": made.json()["data"], "space": SPACE, "size_rule": "off", "trials": 1}
    assert client.post(f"{API}/sweeps", json=body).json()["sweep"] == "a-1"
    assert client.delete(made.headers["location"]).status_code == 204
    assert client.get(made.headers["location"]).status_code == 404
    assert client.get(UPLOAD).json()["offset"] == 0


@pytest.mark.parametrize(
    "headers, status",
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Upload-Offset": "-1"}, 422),
        ({"Upload-Offset": "x"}, 422),
        ({"Upload-Length": str(1 << 50)}, 413),
        ({"Upload-Length": "10"}, 413),
    ],
)
def test_what_is_no_upload_is_refused(
    client: TestClient, headers: dict[str, Any], status: int
) -> None:
    assert send(client, CONTENT, **headers).status_code == status
    assert not client.get(UPLOAD).json()["complete"]


def test_a_wrong_digest_is_refused(client: TestClient) -> None:
    assert send(client, CONTENT[::-1]).status_code == 422
    assert client.get(UPLOAD).json()["offset"] == 0


@pytest.mark.parametrize("digest", ["abc", "..%2F..%2Ftokens.json", DIGEST.upper(), DIGEST + "0"])
def test_what_is_no_digest_names_no_file(client: TestClient, digest: str) -> None:
    headers = KIND | {"Upload-Offset": "0"}
    for answer in (
        client.get(f"{API}/uploads/{digest}"),
        client.patch(f"{API}/uploads/{digest}", content=CONTENT, headers=headers),
    ):
        assert answer.status_code in (404, 422)


@pytest.mark.parametrize("path", ["../../x", "/etc/x", "a/../../x", "a\\..\\x"])
def test_a_corpus_stays_in_its_folder(place: Place, client: TestClient, path: str) -> None:
    send(client, CONTENT)
    given = {"name": "a", "files": [{"path": path, "sha256": DIGEST}]}
    assert client.post(f"{API}/corpora", json=given).status_code == 422
    assert client.post(f"{API}/corpora", json=given | {"name": path}).status_code == 422
    assert not [one for one in place.settings.folder.rglob("x") if one.is_file()]


def test_files_that_are_missing_are_named(client: TestClient) -> None:
    given = {"name": "a", "files": [{"path": "a", "sha256": DIGEST}]}
    answer = client.post(f"{API}/corpora", json=given)
    assert (answer.status_code, answer.json()["missing"]) == (409, [DIGEST])


def test_who_makes_a_corpus_holds_nobody_up(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may, made, link = threading.Event(), threading.Event(), list[str](), os.link

    def take_long(*given: Any) -> None:
        begun.set()
        may.wait(20)
        made.append("too late")
        link(*given)

    monkeypatch.setattr(os, "link", take_long)
    send(client, CONTENT)
    other = b"another"
    path = f"{API}/uploads/{hashlib.sha256(other).hexdigest()}"
    given = {"name": "a", "files": [{"path": "a", "sha256": DIGEST}]}
    headers = KIND | {"Upload-Offset": "0", "Upload-Length": str(len(other))}
    with ThreadPoolExecutor(2) as pool:
        making = pool.submit(client.post, f"{API}/corpora", json=given)
        assert begun.wait(60)
        sending = pool.submit(client.patch, path, content=other, headers=headers)
        with pytest.raises(TimeoutError):
            sending.result(1)
        try:
            assert client.get(f"{API}/health").status_code == 200
            assert made == []
        finally:
            may.set()
        assert (making.result().status_code, sending.result().json()["complete"]) == (201, True)


def test_a_sender_whose_request_fails_may_go_on(client: TestClient) -> None:
    def broken() -> Iterator[bytes]:
        yield CONTENT[:100]
        raise ConnectionError

    failed = client.patch(UPLOAD, content=broken(), headers=KIND | {"Upload-Offset": "0"})
    assert failed.status_code == 500
    for _ in "ab":  # whoever is refused is no sender either
        assert send(client, CONTENT[:1], 1).status_code == 409
    at = client.get(UPLOAD).json()["offset"]
    assert send(client, CONTENT[at:], at).json()["complete"]
