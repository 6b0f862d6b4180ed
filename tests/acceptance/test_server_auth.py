"""A server that asks for a password, as `auth: basic` in mlflow.yaml has `ui` start it."""

from __future__ import annotations

import base64
import http.client
import http.server
import json
import os
import re
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock
from urllib.parse import urlsplit

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.sweep.state import SweepState
from tests.conftest import run_here, start_program
from tests.fakes import ScriptedEngine
from tests.launcher import PROGRAM
from tests.servers import free_port
from tests.sweeps import LOSSES, PLAIN, sweep_of, tiny_spec

pytestmark = pytest.mark.full

PASSWORD = "a password of the tests"
LOGIN: dict[str, Any] = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": PASSWORD}
PAGE = "/api/2.0/mlflow/experiments/search?max_results=1"


@dataclass(frozen=True)
class Server:
    address: str
    folder: Path

    def status(self, path: str, **headers: str) -> int:
        """Status of an answer."""
        place = urlsplit(self.address)
        asked = http.client.HTTPConnection(place.hostname or "", place.port or 0, timeout=60)
        asked.request("GET", path, headers=headers)
        status = asked.getresponse().status
        asked.close()
        return status

    def mark(self) -> str:
        """By what the program knows the server that it has started."""
        place = urlsplit(self.address)
        asked = http.client.HTTPConnection(place.hostname or "", place.port or 0, timeout=60)
        asked.request("GET", "/health")
        mark = asked.getresponse().getheader("Lstm-Sweep", "")
        asked.close()
        return mark


def command_lines() -> Iterator[bytes]:
    """Arguments of all processes, as every user of a machine can read them."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield file.read_bytes()
        except OSError:
            continue


@pytest.fixture(scope="module")
def server(workplace: Callable[[str], Path]) -> Iterator[Server]:
    folder = workplace("guarded")
    (folder / "mlflow.yaml").write_text("auth: basic\n", encoding="utf-8")
    (folder / "elsewhere").mkdir()
    process = subprocess.Popen(
        [PROGRAM, "ui", "--json", "--port", str(free_port())],
        cwd=folder / "elsewhere",
        # what an environment says cannot open the server further
        env={key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
        | {"MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD, "MLFLOW_SERVER_ALLOWED_HOSTS": "*"}
        | {"MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "true"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    line = process.stdout.readline()
    if not line:
        pytest.fail(process.stderr.read())
    yield Server(json.loads(line)["address"], folder)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert PASSWORD not in line + out + err


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"admin:{password}".encode()).decode()


def test_without_a_password_nothing_is_answered(server: Server) -> None:
    assert server.status(PAGE) == 401
    assert server.status("/") == 401
    assert server.status(PAGE, Authorization=basic("another password")) == 401
    assert server.status(PAGE, Authorization=basic(PASSWORD)) == 200


@pytest.mark.parametrize("login", [{}, LOGIN | {"MLFLOW_TRACKING_PASSWORD": "not this one"}])
def test_a_client_without_a_password_gets_one_clear_line(
    server: Server, login: dict[str, Any], tmp_path: Path
) -> None:
    done = run_here("sweeps", cwd=tmp_path, MLFLOW_TRACKING_URI=server.address, **login)
    assert (done.code, done.out) == (2, "")
    [line] = done.err.splitlines()
    assert line.startswith(f"lstm-sweep: store {server.address} (by MLFLOW_TRACKING_URI): it wants")
    assert "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in line
    assert "not this one" not in line


def test_a_client_with_the_password_works(server: Server, tmp_path: Path) -> None:
    named = LOGIN | {"MLFLOW_TRACKING_URI": server.address}
    assert run_here("sweeps", "--json", cwd=tmp_path, **named).json == []
    place = server.address.partition("://")[2]
    within = f"http://admin:{PASSWORD.replace(' ', '%20')}@{place}"
    listed = run_here("ui", "--json", cwd=tmp_path, MLFLOW_TRACKING_URI=within)
    assert listed.json["address"] == server.address


@pytest.mark.parametrize("host", ["evil.example", "192.168.0.7:5000", "evil.example:5000", "10.x"])
def test_another_name_than_its_own_is_refused(server: Server, host: str) -> None:
    assert server.status(PAGE, Authorization=basic(PASSWORD), Host=host) == 403


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1:8080"])
def test_a_tunnel_to_it_works(server: Server, host: str) -> None:
    assert server.status(PAGE, Authorization=basic(PASSWORD), Host=host) == 200


def test_users_lie_beside_the_database_and_are_nobody_elses(server: Server) -> None:
    file = server.folder / "mlflow-users.db"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list((server.folder / "elsewhere").iterdir()) == []
    connection = sqlite3.connect(file)
    [(name, kept)] = connection.execute(
        "SELECT username, password_hash FROM users ORDER BY id LIMIT 1"
    )
    connection.close()
    assert name == "admin" and PASSWORD not in kept
    for path in server.folder.glob("mlflow*"):
        assert PASSWORD.encode() not in path.read_bytes()


@pytest.mark.full
def test_another_password_at_a_later_start_is_refused(server: Server) -> None:
    later = "another password"
    done = run_here("ui", cwd=server.folder, MLFLOW_AUTH_ADMIN_PASSWORD=later)
    assert (done.code, done.out) == (2, "")
    *_, line = done.err.splitlines()
    assert "MLFLOW_AUTH_ADMIN_PASSWORD is not the password of 'admin'" in line


def test_no_process_shows_a_secret_among_its_arguments(server: Server) -> None:
    servers = 0
    mark = server.mark()
    assert re.fullmatch("[0-9a-f]{32}", mark)
    for shown in command_lines():
        assert PASSWORD.encode() not in shown
        assert mark.encode() not in shown
        if b"\0server\0" in shown and str(server.folder).encode() in shown:
            servers += 1
            assert b"mlflow.db" not in shown
    assert servers == 1


@pytest.fixture(scope="module")
def user(server: Server) -> dict[str, Any]:
    """What a user who is no admin has in the environment."""
    from mlflow.server.auth.client import AuthServiceClient

    name, password = "ada", "a password of hers"
    with mock.patch.dict(os.environ, LOGIN):
        AuthServiceClient(server.address).create_user(name, password)
    login = {"MLFLOW_TRACKING_USERNAME": name, "MLFLOW_TRACKING_PASSWORD": password}
    return login | {"MLFLOW_TRACKING_URI": server.address}


def test_a_user_sees_all_runs_and_writes_them_once_allowed_to(
    server: Server, user: dict[str, Any], corpus: Corpus, data: Path
) -> None:
    from mlflow.server.auth.client import AuthServiceClient

    def sweep(name: str) -> SweepState:
        store = Store(Settings(server.address, None, "team", "test"))
        spec = tiny_spec(data=str(data), trials=2, **PLAIN)
        return sweep_of(store, corpus, ScriptedEngine(LOSSES), spec, name=name).run()

    with mock.patch.dict(os.environ, LOGIN):
        sweep("admins")
    with mock.patch.dict(os.environ, user):
        store = Store(Settings(server.address, None, "team", "test"))
        assert [record.outcome for record in reader.trials(store, "admins")] == [
            "complete", "complete",
        ]  # fmt: skip
        with pytest.raises(StoreError, match=r"(?i)permission") as refused:
            sweep("users")
        assert len(str(refused.value).splitlines()) == 1
        assert len(reader.sweeps(store)) == 1
    with mock.patch.dict(os.environ, LOGIN):
        admin = AuthServiceClient(server.address)
        admin.grant_user_permission("ada", "experiment", "*", "EDIT")
    with mock.patch.dict(os.environ, user):
        assert sweep("users").counts == {"complete": 2}
        assert len(reader.sweeps(store)) == 2


class Impostor(http.server.BaseHTTPRequestHandler):
    """Passes itself off as the server, with whatever every user of the machine can find out."""

    heard: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        """Answer as the server would, and keep a login."""
        type(self).heard.extend(self.headers.get_all("Authorization", []))
        self.send_response(200 if self.path == "/health" else 401)
        port = self.headers["Host"].rpartition(":")[2].encode()
        for shown in command_lines():
            if b"\0--port\0" + port + b"\0" not in shown:
                continue
            if found := re.search(rb"(?i)lstm-sweep:([0-9a-f]{32})", shown):
                self.send_header("Lstm-Sweep", found[1].decode())
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *parts: object) -> None:
        """Say nothing."""


@pytest.mark.full
def test_whoever_takes_the_port_first_gets_no_password(workplace: Callable[[str], Path]) -> None:
    folder, port = workplace("taken"), free_port()
    (folder / "mlflow.yaml").write_text("auth: basic\n", encoding="utf-8")
    process = start_program(
        "ui", "--port", str(port), cwd=folder, MLFLOW_AUTH_ADMIN_PASSWORD=PASSWORD
    )
    assert process.stderr is not None
    assert process.stderr.readline().startswith("starting the MLflow server")
    impostor = http.server.ThreadingHTTPServer(("127.0.0.1", port), Impostor)
    thread = threading.Thread(target=impostor.serve_forever)
    thread.start()
    try:
        out, err = process.communicate(timeout=300)
    finally:
        impostor.shutdown()
        thread.join()
        impostor.server_close()
        process.kill()
    assert Impostor.heard == []
    assert (process.returncode, out) == (2, "")
    assert err == f"lstm-sweep: --port {port}: it is taken, expected a free one\n"
