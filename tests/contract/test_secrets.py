"""Secrets of an address or of the environment never reach the terminal."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from lstm_sweep.search.cli import main, sweeps
from lstm_sweep.search.process import secrets
from tests.conftest import write_text

COMMANDS = [
    ["sweeps"],
    ["trials", "s"],
    ["show", "s/1"],
    ["rerun", "s/1", "--on", "inline"],
    ["export", "s", "--to", "best"],
    ["stop", "s"],
    ["status", "s"],
    ["resume", "s"],
    ["ui"],
    ["launch", "--data", "words.txt", "--on", "inline", "--size-rule", "warn"],
]
ADDRESSES = [
    "postgresql://user:PLANTED@127.0.0.1:9/db",
    "postgresql://user:a/PLANTED@127.0.0.1:9/db",
    "postgresql+none://user:PLANTED@127.0.0.1:9/db",
    "postgresql://127.0.0.1:9/db?password=PLANTED",
    "mysql+pymysql://user:1:PLANTED@127.0.0.1:9/db",
    "http://user:PLANTED@127.0.0.1:9",
    "http://user:PLANTED/x@127.0.0.1:9",
    "http://user:x#PLANTED@127.0.0.1:9",
    "http://PLANTED@127.0.0.1:9",
    "http://user:PLANTED@[127.0.0.1:9",
    "user:PLANTED@127.0.0.1/db",
    "ftp://user:PLANTED@127.0.0.1/db",
    "sqlite://user:PLANTED@127.0.0.1/db",
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(secrets, "_hidden", set())
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 1)
    write_text(tmp_path / "words.txt", 40_000)
    yield tmp_path


@pytest.mark.parametrize(
    ("uri", "from_file"), [*zip(ADDRESSES, itertools.cycle([False, True]), strict=False)]
)
def test_no_command_shows_the_password_of_an_address(
    uri: str,
    from_file: bool,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if from_file:
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        (folder / "mlflow.yaml").write_text(f"tracking_uri: '{uri}'\n")
    else:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for typed in COMMANDS:
        code = main(typed)
        out, err = capfd.readouterr()
        assert "PLANTED" not in out + err, typed
        assert code == 2, (typed, err)
        assert len(err.splitlines()) == 1, typed
    written = [path for path in folder.rglob("*") if path.is_file() and path.name != "mlflow.yaml"]
    assert not [path for path in written if b"PLANTED" in path.read_bytes()]


def test_an_unexpected_failure_shows_no_secret(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "PLANTED-1")
    monkeypatch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", "PLANTED-2")

    def fail(arguments: object, actions: object) -> int:
        try:
            raise KeyError("postgresql://user:PLANTED@host/db?sslpassword=PLANTED")
        except KeyError:
            raise RuntimeError("http://me:PLANTED@host, PLANTED-1, PLANTED-2") from None

    monkeypatch.setattr(sweeps, "sweeps", fail)
    assert main(["sweeps"]) == 1
    out, err = capfd.readouterr()
    assert "unexpected RuntimeError: http://me:***@host, ***, ***" in err
    assert "PLANTED" not in (out + err).replace(_source(err), "")


def _source(err: str) -> str:
    """The line of this very file that the traceback quotes."""
    [line] = [line for line in err.splitlines() if "raise RuntimeError(" in line]
    return line


@pytest.mark.parametrize(
    "text, shown",
    [
        ("postgresql://me:a/b?c#d@e@host/db", "postgresql://me:***@host/db"),
        ("http://a:b:c@host and planted", "http://a:***@host and ***"),
        ("at http://abcdef@host/x now", "at http://***@host/x now"),
        ("s3://bucket/key?X-Amz-Signature=abc&b=c now", "s3://bucket/key?*** now"),
        ("connect: host=h password=abc dbname=d", "connect: host=h password=*** dbname=d"),
        ("connect: host=h pwd=abc dbname=d", "connect: host=h pwd=*** dbname=d"),
        ("is it http://host:5000/x? yes", "is it http://host:5000/x? yes"),
    ],
)
def test_what_looks_like_a_secret_is_not_shown(
    text: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "planted")
    assert secrets.without_secrets(text) == shown


def test_a_secret_of_an_address_is_not_shown_anywhere() -> None:
    secrets.hide("plan%20ted/behind")
    text = "port 'plan ted', 'plan%20ted', behind and before"
    assert secrets.without_secrets(text) == "port 'plan ted', '***', *** and before"
    secrets.hide("abc")
    assert secrets.without_secrets("abc") == "abc"  # too short to be looked for


@pytest.mark.parametrize(
    "uri, parts",
    [
        ("postgresql://me:a@b@host/runs", ("me", "a@b", "host/runs")),
        ("http://token@host", ("token", "", "host")),
        ("http://host:5000", ("", "", "host:5000")),
        ("me:a@host", ("me", "a", "host")),
    ],
)
def test_a_login_ends_at_the_last_at_sign(uri: str, parts: tuple[str, str, str]) -> None:
    assert secrets.login(uri) == parts


def test_secrets_that_are_taken_are_neither_inherited_nor_shown() -> None:
    environment = {"PGPASSWORD": "planted", "HOME": "/home/me"}
    secrets.take_secrets(environment)
    assert environment == {"HOME": "/home/me"}
    assert secrets.without_secrets("planted in /home/me") == "*** in /home/me"
