from __future__ import annotations

import configparser
import http.client
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.cli import main
from lstm_sweep.search.store import auth
from lstm_sweep.search.store.settings import Settings, load

GOOD = {auth.PASSWORD: "twelve signs"}


def settings_of(uri: str) -> Settings:
    return Settings(uri, None, "test", "test", "basic")


def test_a_good_password_is_enough() -> None:
    auth.check(GOOD)


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("", "is not set"),
        ("eleven sign", "has 11 characters"),
        ("password1234", "everybody knows"),
    ],
)
def test_a_password_that_protects_nothing_is_refused(password: str, said: str) -> None:
    with pytest.raises(InputError, match=f"MLFLOW_AUTH_ADMIN_PASSWORD .*{said}") as refusal:
        auth.check({auth.PASSWORD: password})
    assert "at least 12 characters" in str(refusal.value)
    assert not password or f"{password}," not in str(refusal.value)


def test_without_a_password_the_server_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mlflow.yaml").write_text("auth: basic\n")
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", auth.PASSWORD):
        monkeypatch.delenv(name, raising=False)
    assert main(["ui"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1
    assert "MLFLOW_AUTH_ADMIN_PASSWORD is not set" in err
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.yaml"]


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"lstm-sweep\[auth\]"):
        auth.check(GOOD)


def test_users_are_kept_beside_the_store_and_nothing_secret_is_written(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "at").mkdir()
    settings = settings_of(f"sqlite:///{tmp_path}/store/100%.db")
    users = tmp_path / "store" / "100%-users.db"
    users.touch(mode=0o644)
    variables = auth.prepare(settings, tmp_path / "at", GOOD)
    assert users.stat().st_mode & 0o777 == 0o600
    [written] = (tmp_path / "at").iterdir()
    assert variables[auth.CONFIG] == str(written)
    assert written.stat().st_mode & 0o077 == 0
    config = configparser.ConfigParser()
    config.read(written)
    assert config["mlflow"]["database_uri"] == f"sqlite:///{users}"
    assert config["mlflow"].getint("auth_cache_ttl_seconds") == auth.REMEMBERED_S
    text = written.read_text()
    assert GOOD[auth.PASSWORD] not in text and variables[auth.KEY] not in text


def users_of(uri: str, folder: Path) -> tuple[str, dict[str, str]]:
    """Where the app is told to keep users, and the variables of its server."""
    variables = auth.prepare(settings_of(uri), folder, GOOD)
    config = configparser.ConfigParser()
    config.read(variables[auth.CONFIG])
    return config["mlflow"]["database_uri"], variables


def test_users_of_a_database_are_in_it_and_its_password_is_not_written(tmp_path: Path) -> None:
    users, variables = users_of("postgresql://me:100%25@host/runs", tmp_path)
    assert users == "postgresql+psycopg2://me@host/runs"
    assert variables["PGPASSWORD"] == "100%"
    users, variables = users_of("postgresql://me@host/100%25", tmp_path)
    assert users == "postgresql+psycopg2://me@host/100%25"
    assert "PGPASSWORD" not in variables
    assert users_of("mysql+pymysql://me:a@host/runs", tmp_path)[0].startswith("mysql+pymysql://me:")


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "another user's"])
def test_the_file_of_the_users_must_be_ones_own(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users, other = tmp_path / "mlflow-users.db", tmp_path / "other"
    other.touch(mode=0o644)
    if kind == "link":
        users.symlink_to(other)
    elif kind == "pipe":
        os.mkfifo(users)
    elif kind == "folder":
        users.mkdir()
    else:
        users.touch(mode=0o644)
        monkeypatch.setattr(os, "geteuid", lambda: users.stat().st_uid + 1)
    with pytest.raises(InputError, match=r"mlflow-users\.db: .*, expected a file of your own"):
        auth.prepare(settings_of(f"sqlite:///{tmp_path}/mlflow.db"), tmp_path, GOOD)
    assert other.stat().st_mode & 0o777 == 0o644
    assert kind == "link" or users.stat().st_mode & 0o777 != 0o600


def test_a_key_is_made_for_each_start_unless_one_is_given(tmp_path: Path) -> None:
    settings = settings_of("postgresql://host/runs")
    made = {auth.prepare(settings, tmp_path, GOOD)[auth.KEY] for _ in range(2)}
    assert len(made) == 2 and all(len(key) == 64 for key in made)
    given = auth.prepare(settings, tmp_path, GOOD | {auth.KEY: "mine"})
    assert given[auth.KEY] == "mine"


@pytest.fixture
def answering() -> Iterator[Callable[..., tuple[str, list[str | None]]]]:
    """Starts a server that gives these answers in turn: a status, and the mark of an answer."""
    servers = []

    def start(*answers: tuple[int, str], keeps: bool = True) -> tuple[str, list[str | None]]:
        heard: list[str | None] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                status, mark = answers[len(heard)]
                heard.append(self.headers["Authorization"])
                self.send_response(status)
                self.send_header("Mark", mark)
                self.send_header("Content-Length", "0")
                if not keeps:
                    self.send_header("Connection", "close")
                self.end_headers()

            def log_message(self, *parts: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}", heard

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


Answering = Callable[..., tuple[str, list[str | None]]]


def test_a_server_that_knows_the_admin_is_good(answering: Answering) -> None:
    address, heard = answering((401, "ours"), (200, "ours"))
    auth.check_server(address, GOOD, ("Mark", "ours"))
    assert heard == [None, "Basic YWRtaW46dHdlbHZlIHNpZ25z"]


@pytest.mark.parametrize("status", [200, 403])
def test_a_server_that_asks_nobody_is_not_announced(status: int, answering: Answering) -> None:
    address, heard = answering((status, "ours"))
    with pytest.raises(RuntimeError, match="does not ask for a password"):
        auth.check_server(address, GOOD, ("Mark", "ours"))
    assert heard == [None]


def test_a_server_that_is_not_the_one_that_was_started_gets_no_password(
    answering: Answering,
) -> None:
    address, heard = answering((401, "theirs"), (200, "theirs"))
    with pytest.raises(RuntimeError, match="another server answers at http://127"):
        auth.check_server(address, GOOD, ("Mark", "ours"))
    assert heard == [None]


def test_the_password_goes_over_the_connection_on_which_the_mark_came(
    answering: Answering,
) -> None:
    address, heard = answering((401, "ours"), (200, "ours"), keeps=False)
    with pytest.raises(http.client.NotConnected):
        auth.check_server(address, GOOD, ("Mark", "ours"))
    assert heard == [None]


def test_auth_of_the_file_stays_for_another_store(tmp_path: Path) -> None:
    (tmp_path / "mlflow.yaml").write_text("auth: basic\n")
    assert load(tmp_path, {"MLFLOW_TRACKING_URI": "sqlite:///other.db"}).auth == "basic"
    assert load(tmp_path, {}).auth == "basic"


@pytest.mark.parametrize("value", ["none", "off", "true", "Basic", "3", "[basic]", ""])
def test_another_kind_of_auth_is_refused_and_the_allowed_one_named(
    value: str, tmp_path: Path
) -> None:
    (tmp_path / "mlflow.yaml").write_text(f"auth: {value}\n")
    with pytest.raises(InputError, match=r"mlflow\.yaml: auth is .*, expected basic, or no such"):
        load(tmp_path, {})
