"""Requests to a real server on a port, which refuses, breaks off and sends elsewhere."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import lstm_sweep
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions.connection import (
    Connection,
    Event,
    NoAnswerError,
    check_address,
    parsed,
)
from lstm_sweep.search.actions.remote import Remote
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.values.spec import TOKEN

STATUS: dict[str, Any] = {
    "sweep": "s", "run_id": "r", "state": "finished", "why": None, "trials": {}, "best": None,
    "slots": 1, "submitted": "2026-01-01T00:00:00+00:00", "started": None, "eta_seconds": None,
}  # fmt: skip
GONE = b'{"type": "urn:lstm-sweep:not-found", "detail": "no such sweep"}'
#: answers that a path gives, one after the other: status, then content
SCRIPTS = {
    "/api/v1/busy": [(503, b""), (502, b""), (200, b'{"found": 1}')],
    "/api/v1/down": [(503, b"")] * 100,
    "/api/v1/elsewhere": [(302, b"")],
    "/api/v1/page": [(200, b"<html>log in</html>")],
    "/api/v1/list": [(200, b"[]")],
    "/api/v1/sweeps/s": [(200, json.dumps(STATUS).encode()), (503, b""), (404, GONE)],
}


class Scripted(BaseHTTPRequestHandler):
    """Answers as its server's script says, and notes who asks with which token."""

    def do_GET(self) -> None:
        """Give the next answer of a path."""
        server = self.server
        assert isinstance(server, ScriptedServer)
        server.asked.append((self.path, self.headers.get("Authorization")))
        path = self.path.partition("?")[0]
        status, content = server.scripts[path].pop(0) if path in SCRIPTS else (200, b"{}")
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/stolen")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_DELETE(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Write no log."""


class ScriptedServer(ThreadingHTTPServer):
    """A server with a script for each path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Scripted)
        self.scripts = {path: list(answers) for path, answers in SCRIPTS.items()}
        self.asked: list[tuple[str, str | None]] = []


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server that runs."""
    with ScriptedServer() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def connection_to(server: ScriptedServer, said: list[str], token: str = "secret") -> Connection:
    """A connection whose clock goes on by what is slept."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    address = f"http://127.0.0.1:{server.server_address[1]}"
    return Connection(address, token, say=said.append, clock=lambda: now[0], sleep=sleep)


def test_a_busy_service_is_asked_again(server: ScriptedServer) -> None:
    said = list[str]()
    assert connection_to(server, said).get("busy").document() == {"found": 1}
    assert server.asked == [("/api/v1/busy", "Bearer secret")] * 3 and len(said) == 1


def test_patience_ends(server: ScriptedServer) -> None:
    said = list[str]()
    with pytest.raises(NoAnswerError, match="503"):
        connection_to(server, said).get("down")
    # waits of 0.5, 1, 2, 4, 5 and 5 s are within 20 s
    assert len(server.asked) == 7 and len(said) == 1


def test_a_delete_whose_answer_is_lost_has_deleted(server: ScriptedServer) -> None:
    said = list[str]()
    remote = Remote(connection_to(server, said))
    assert remote.delete("s").left == 0
    assert said[1:] == ["sweep s is gone, though not every request was answered"]


def test_no_redirect_is_followed_with_the_token(server: ScriptedServer) -> None:
    with pytest.raises(InputError, match="status 302"):
        connection_to(server, []).get("elsewhere")
    assert [path for path, _ in server.asked] == ["/api/v1/elsewhere"]


@pytest.mark.parametrize("path", ["page", "list"])
def test_what_another_server_answers_is_shown_in_a_line(server: ScriptedServer, path: str) -> None:
    answer = connection_to(server, []).get(path)
    with pytest.raises(InputError, match=r"^http://127.* with no JSON object: .*, expected a serv"):
        answer.document()
    with pytest.raises(InputError, match=r"^http://127.* otherwise .* expected a service of"):
        Remote(connection_to(server, [])).sweeps()


@pytest.mark.parametrize(("url", "token"), [(3, None), ("http://host", 3), ("http://host", b"a")])
def test_what_is_no_text_connects_to_nothing(url: Any, token: Any) -> None:
    with pytest.raises(InputError, match=r"(url|token) is .*: expected a text"):
        lstm_sweep.connect(url, token=token)


def test_what_can_be_no_host_is_refused_at_once() -> None:
    slept = list[float]()
    with pytest.raises(InputError, match="cannot be asked"):
        Connection("http://a b:80", sleep=slept.append).get("health")
    assert not slept


def test_what_names_no_trial_is_compared_with_nothing(server: ScriptedServer) -> None:
    with pytest.raises(InputError, match="expected SWEEP/NUMBER"):
        Remote(connection_to(server, [])).compare("s/1", "\udcff")
    assert server.asked == []


def test_a_token_may_stand_on_a_line_and_is_not_shown(server: ScriptedServer) -> None:
    connection_to(server, [], "planted\r\n").get("anything")
    assert server.asked == [("/api/v1/anything", "Bearer planted")]
    assert without_secrets("the token planted") == "the token ***"


@pytest.mark.parametrize("token", ["planted\nagain", "planted\0", "plantéd", "planted\ud800"])
def test_a_token_that_cannot_be_sent_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(InputError, match=f"{TOKEN} has characters") as refused:
        Connection("http://host", token)
    assert "plant" not in str(refused.value)


@pytest.mark.parametrize(
    "given",
    ["", "host", "ftp://host", "http://", "http://a:b@host", "http://host?x=1", "http://h:0"],
)
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(InputError, match="expected the address of a service"):
        check_address(given, "--server")
    assert check_address("http://host:8000/", "--server") == "http://host:8000"


def test_events_are_read_and_one_that_is_broken_off_is_left_out() -> None:
    lines = [
        "retry: 2000", "", ": ping", "", "event: trial", 'data: {"number":', "data: 1}", "id: a",
        "", "event: end", "data: {}", "id: b",
    ]  # fmt: skip
    assert list(parsed(lines)) == [Event("trial", {"number": 1}, "a")]
    assert [event.name for event in parsed([*lines, ""])] == ["trial", "end"]
