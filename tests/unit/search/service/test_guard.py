"""What a hostile page, client or neighbour sends; each case would pass without its check."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from urllib.parse import urlsplit

import pytest
import uvicorn
from starlette.responses import FileResponse, Response
from starlette.testclient import TestClient
from uvicorn.server import ServerState

from lstm_sweep.search.service import guard as module
from lstm_sweep.search.service import pages
from lstm_sweep.search.service.app import create_app
from lstm_sweep.search.service.auth import COOKIE, TokenFile, parse_proxies
from lstm_sweep.search.service.guard import (
    OPEN,
    READING,
    SECURITY,
)
from lstm_sweep.search.service.settings import Limits
from tests.service_app import API, HERE, Place

#: a change that is refused with 404 once it has passed the guard
CHANGE = f"{API}/sweeps/none/pause"
#: what is put into paths of endpoints
NAMES = {"sweep": "s", "number": "1", "run": "0" * 32, "corpus": "0" * 32, "rerun": "0" * 16}


@pytest.fixture
def place(workplace: Callable[[str], Path]) -> Place:
    return Place.in_folder(workplace("guarded"), names=("runs.example.org",))


@pytest.fixture
def asking(workplace: Callable[[str], Path]) -> Place:
    """A service that asks for tokens."""
    return Place.in_folder(workplace("asking"), asks_login=True)


@pytest.fixture
def client(place: Place) -> Iterator[TestClient]:
    with place.client() as client:
        yield client


def log_in(client: TestClient, token: str) -> Any:
    return client.post("/login", data={"token": token}, follow_redirects=False)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    "host, status",
    [
        *((own, 404) for own in ("localhost", "LOCALHOST:8000", "127.0.0.1:5000", "[::1]:80",
                                 "10.0.0.7", "runs.example.org")),
        *((other, 421) for other in ("evil.example", "localhost.evil.example", "evil.example:8000",
                                     "", "127.0.0.1.evil.example", "runs.example.org.evil")),
    ],
)  # fmt: skip
def test_a_name_that_leads_here_from_elsewhere_is_refused(
    client: TestClient, host: str, status: int
) -> None:
    answer = client.post(CHANGE, headers={"Host": host})
    assert (answer.status_code, answer.json()["status"]) == (status, status)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:8080"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "http://localhost@evil.example"},
        {"Origin": "http://[::1"},
        {"Origin": "http://localhost", "Host": f"localhost:{'8' * 5_000}"},
        {"Origin": "file://"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"},
        {"Cookie": f"{COOKIE}=abc"},
        {"Cookie": "of-a-proxy=abc"},
    ],
)
def test_a_page_of_another_site_changes_nothing(
    client: TestClient, headers: dict[str, str]
) -> None:
    for method in ("POST", "PATCH", "DELETE", "PUT"):
        answer = client.request(method, CHANGE, headers=headers)
        assert answer.status_code == 403
        assert answer.headers["content-type"] == "application/problem+json"


def test_its_own_pages_and_programs_may_change(client: TestClient) -> None:
    own = [{"Origin": place} for place in (HERE, "https://localhost")]  # one is behind a proxy
    for headers in ({}, *own, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}):
        assert client.post(CHANGE, headers=headers).status_code == 404


def test_no_other_site_may_read_what_a_browser_fetches(client: TestClient) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for answer in (
        client.get(f"{API}/sweeps", headers=headers),
        client.options(f"{API}/sweeps", headers=headers),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_each_answer_has_the_headers(client: TestClient) -> None:
    answers = [
        client.get(path) for path in (f"{API}/health", f"{API}/sweeps", "/nothing", "/metrics")
    ]
    answers.append(client.get("/", headers={"Host": "evil.example"}))
    for answer in answers:
        assert {name: answer.headers[name] for name in SECURITY} == SECURITY
        assert "cache-control" in answer.headers
    policy = SECURITY["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy


def test_each_endpoint_asks_for_a_login_and_each_change_for_a_role_and_a_line(
    asking: Place,
) -> None:
    tokens = TokenFile(asking.settings.folder)
    reads, runs = bearer(tokens.add("ann", "read")), bearer(tokens.add("bob", "run"))
    app = create_app(asking.service, asking.settings)
    described = app.openapi()["paths"]
    found = {(method.upper(), path) for path, methods in described.items() for method in methods}
    routes = pages.router.routes
    found |= {(method, route.path) for route in routes for method in route.methods}  # type: ignore[attr-defined]
    noted = list[tuple[str, int]]()
    with TestClient(app, base_url=HERE) as client:
        for method, path in sorted(found):
            if path in OPEN or path.startswith("/static/"):
                continue
            place = path.format(**NAMES)
            assert client.request(method, place).status_code == 401, f"{method} {path}"
            if method not in READING:
                assert client.request(method, place, headers=reads).status_code == 403, path
                answer = client.request(method, place, json=[], headers=runs)
                noted.append((f"{method} {place}", answer.status_code))
    assert {status for _, status in noted} <= {403, 404, 409, 413, 415, 422}
    started = {f"POST {API}/dry-runs", f"POST {API}/sizes", f"POST {API}/prune"}
    assert started | {"POST /sweeps/s/export"} <= {what for what, _ in noted}
    made = [line for line in lines(asking) if line["status"] is not None]
    assert [(line["what"], line["status"]) for line in made] == noted
    assert {line["who"] for line in made} == {"bob"}


def test_a_browser_logs_in_by_a_cookie_that_scripts_and_other_sites_cannot_use(
    asking: Place,
) -> None:
    token = TokenFile(asking.settings.folder).add("ann", "run")
    with asking.client() as client:
        answer = log_in(client, token)
        cookie = answer.headers["set-cookie"].lower()
        assert answer.status_code == 303 and "httponly" in cookie and "samesite=strict" in cookie
        assert client.get(f"{API}/sweeps").status_code == 200
        assert client.post(CHANGE).status_code == 403  # neither a browser's nor by a token
        own = {"Origin": "http://localhost"}
        assert client.post(CHANGE, headers=own).status_code == 404
        client.post("/logout", headers=own)
        assert client.get(f"{API}/sweeps").status_code == 401


def test_who_asks_is_what_the_proxy_says(workplace: Callable[[str], Path]) -> None:
    place = Place.in_folder(
        workplace("behind"), asks_login=True, user_header="remote-user",
        proxies=parse_proxies(("10.0.0.2",)),
    )  # fmt: skip
    token = TokenFile(place.settings.folder).add("bob", "run")
    app = create_app(place.service, place.settings)
    named = {"Remote-User": "ann", "X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
    with TestClient(app, base_url=HERE, headers=named, client=("10.0.0.3", 1)) as client:
        assert client.get(f"{API}/user").status_code == 401
    with TestClient(app, base_url=HERE, headers=named, client=("10.0.0.2", 1)) as client:
        assert client.get(f"{API}/user").json() == {"name": "ann", "role": "read"}
        assert client.post(CHANGE).status_code == 403
        assert client.post(CHANGE, headers=bearer(token)).status_code == 404
        assert "secure" in log_in(client, token).headers["set-cookie"].lower()
    assert {line["from"] for line in lines(place)} == {"192.0.2.7"}


def lines(place: Place, name: str = "audit.jsonl") -> list[dict[str, Any]]:
    """What the service has noted."""
    file = place.settings.folder / name
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_changes_logins_and_refusals_are_noted_and_secrets_are_not(
    asking: Place, caplog: pytest.LogCaptureFixture
) -> None:
    token = TokenFile(asking.settings.folder).add("ann", "run")
    with caplog.at_level(logging.DEBUG), asking.client() as client:
        client.get(f"{API}/sweeps", headers=bearer(token))
        assert not lines(asking) + lines(asking, "refusals.jsonl")
        client.post(CHANGE)  # by nobody
        log_in(client, "lstm-sweep-guessed")
        client.post(CHANGE, headers=bearer(token))
        log_in(client, token)
    begun, change, session = lines(asking)
    assert (change["who"], change["what"], change["status"]) == ("ann", f"POST {CHANGE}", 404)
    assert begun == change | {"status": None, "when": begun["when"]}
    assert (session["who"], session["what"]) == ("ann", "POST /login")
    refused = [(line["who"], line["status"]) for line in lines(asking, "refusals.jsonl")]
    assert refused == [(None, 401)] * 2
    for file in asking.settings.folder.glob("*.jsonl"):
        assert change["when"].endswith("+00:00") and file.stat().st_mode & 0o077 == 0
        assert token not in file.read_text() + caplog.text


def test_a_download_is_noted(asking: Place) -> None:
    token = TokenFile(asking.settings.folder).add("ann", "read")
    app = create_app(asking.service, asking.settings)

    @app.get("/bundle")
    async def bundle() -> Response:
        return FileResponse(__file__, filename="bundle.zip")

    with TestClient(app, base_url=HERE, headers=bearer(token)) as client:
        assert client.get("/bundle").status_code == 200
    [line] = lines(asking)
    assert (line["who"], line["what"], line["status"]) == ("ann", "GET /bundle", 200)


def test_a_change_that_cannot_be_noted_is_not_made(asking: Place) -> None:
    token = TokenFile(asking.settings.folder).add("ann", "run")
    (asking.settings.folder / "audit.jsonl").mkdir()
    with asking.client(**bearer(token)) as client:
        answer = client.post(f"{API}/sweeps", json={"data": "python-docs"})
        assert (answer.status_code, answer.json()["type"]) == (507, "urn:lstm-sweep:problem:disk")
        assert "so it is not made" in answer.json()["detail"]
        assert client.get(f"{API}/sweeps").json()["sweeps"] == []


@contextlib.contextmanager
def connected(place: Place) -> Iterator[socket.socket]:
    with place.served() as url:
        at = urlsplit(url)
        with socket.create_connection((at.hostname, at.port), timeout=30) as one:
            yield one


def test_a_body_that_does_not_come_is_not_waited_for(workplace: Callable[[str], Path]) -> None:
    with connected(Place.in_folder(workplace("silent"), limits=Limits(silence_s=0.2))) as one:
        head = f"POST {API}/sweeps HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
        one.sendall(f"{head}Content-Type: application/json\r\n\r\n{{".encode())
        assert one.recv(12) == b"HTTP/1.1 408"


def test_a_body_that_is_too_large_is_not_read(client: TestClient) -> None:
    def parts(size: int) -> Iterator[bytes]:
        for _ in range(size // 1000 + 1):
            yield b" " * 1000

    limits = Limits()
    for path, most in (f"{API}/sweeps", limits.request_bytes), ("/login", limits.anonymous_bytes):
        for content in (b" " * (most + 1), parts(most + 1)):
            headers = {"Content-Type": "application/json"}
            answer = client.post(path, content=content, headers=headers)
            assert (answer.status_code, answer.json()["status"]) == (413, 413)


def test_what_is_unexpected_is_told_to_the_log_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*arguments: Any) -> None:
        raise RuntimeError("at https://me:hunter2@host/")

    monkeypatch.setattr(place.service, "queue", fails)
    with place.client() as client:
        client.get(f"{API}/queue")
        answer = client.get(f"{API}/queue")
    assert caplog.text.count("Traceback") == 1  # the same within a minute
    assert (answer.status_code, answer.json()["type"]) == (500, "urn:lstm-sweep:problem:unexpected")
    assert "RuntimeError" not in answer.text and "RuntimeError" in caplog.text
    assert "hunter2" not in caplog.text + answer.text


def test_a_body_without_a_login_has_so_long_in_all(workplace: Callable[[str], Path]) -> None:
    place = Place.in_folder(workplace("slow"), limits=Limits(silence_s=0.5), asks_login=True)
    with connected(place) as one:
        head = "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90\r\n"
        one.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode())
        one.settimeout(0.1)
        answer = b""
        for _ in range(89):
            one.send(b"{")
            with contextlib.suppress(TimeoutError):
                answer = one.recv(12)
                break
        assert answer == b"HTTP/1.1 408"


def test_an_answer_that_nobody_takes_does_not_hold_a_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = list[Callable[[], None]]()
    loop = Mock(call_later=lambda _, look: looks.append(look))
    config = uvicorn.Config(lambda _: None)
    one = module._Connection(config=config, server_state=ServerState(), app_state={}, _loop=loop)
    transport = Mock(is_closing=lambda: False, get_extra_info=lambda _: None)
    one.connection_made(transport)
    one.cycle = Mock(response_complete=False)

    def looked(left: int) -> bool:
        transport.get_write_buffer_size = lambda: left
        looks.pop()()
        return bool(transport.abort.called)

    assert not any(looked(left) for left in (90, 80, 80, 80, 0, 0))
    for _ in range(2 * module.MOST_UNREAD):
        one.resume_writing()  # what was there was taken, and more came
        assert not looked(90)
    assert [looked(90) for _ in range(module.MOST_UNREAD + 1)][-2:] == [False, True]


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nA: " + b"a" * 200_000,
        f"GET {API}/health HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HT".encode(),
    ],
)
def test_what_is_no_whole_request_does_not_hold_a_connection(
    workplace: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(module, "HEAD_S", 0.3)
    with (
        connected(Place.in_folder(workplace("held"))) as one,
        contextlib.suppress(ConnectionError),
    ):
        one.sendall(sent)
        while one.recv(65_536):
            one.send(b"a")
