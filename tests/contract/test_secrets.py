"""Secrets of an address or of the environment never reach the terminal."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.cli import main, sweeps
from lstm_sweep.search.process import secrets
from lstm_sweep.search.store.settings import load
from lstm_sweep.search.store.tracking import MlflowStore
from lstm_sweep.search.values.trial import Ended, Outcome
from tests.conftest import write_text
from tests.fakes import ScriptedEngine
from tests.sweeps import LOSSES, PLAIN, sweep_of, tiny_spec

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
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 1)
    write_text(tmp_path / "words.txt", 40_000)
    return tmp_path


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

    first = "postgresql://user:PLANTED@host/db?sslpassword=PLANTED"
    second = "http://me:PLANTED@host, PLANTED-1, PLANTED-2"

    def fail(arguments: object, actions: object) -> int:
        try:
            raise KeyError(first)
        except KeyError:
            raise RuntimeError(second) from None

    monkeypatch.setattr(sweeps, "sweeps", fail)
    assert main(["sweeps"]) == 1
    out, err = capfd.readouterr()
    assert "unexpected RuntimeError: http://me:***@host, ***, ***" in err
    assert "PLANTED" not in out + err


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


def test_secrets_that_are_taken_are_neither_inherited_nor_shown() -> None:
    environment = {"PGPASSWORD": "planted", "HOME": "/home/me"}
    secrets.take_secrets(environment)
    assert environment == {"HOME": "/home/me"}
    assert secrets.without_secrets("planted in /home/me") == "*** in /home/me"


# What is printed where the terminal has ASCII alone, as with `LANG=C` in a small container


#: how a trial ended, with characters that ASCII lacks
REASON = "zu groß für 山 — 😀"


@pytest.fixture(scope="module")
def odd_sweep(workplace: Callable[[str], Path], corpus: Corpus) -> Path:
    """A store with a sweep of four trials, one of which failed."""
    place = workplace("ascii")
    data = place / "bücher.txt"
    data.write_text("дом, été, naïve. " * 200, encoding="utf-8")
    engine = ScriptedEngine(LOSSES, endings={1: Ended(Outcome.OUT_OF_MEMORY, REASON)})
    spec = tiny_spec(data=str(data), trials=4, **PLAIN)
    sweep_of(MlflowStore(load(place)), corpus, engine, spec).run()
    return place


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["sweeps"], "s"),
        (["status", "s"], "s"),
        (["trials", "s"], "| s/3"),
        (["show", "s/3"], "+----"),
        (["show", "s/1", "--json"], json.dumps(REASON)),
        (["show", "s/1"], "zu gro\\xdf f\\xfcr \\u5c71"),
        (["compare", "s/2", "s/3"], "s/3 is 0.1000 better than s/2"),
        (["report", "s", "--to", "größe.html"], "gr\\xf6\\xdfe.html"),
        (["launch", "--data", "bücher.txt", "--size-rule", "off", "--dry-run"], "b\\xfccher.txt"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_a_command_prints_what_ascii_has_and_escapes_the_rest(
    odd_sweep: Path, command: list[str], expected: str
) -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with (
        contextlib.chdir(odd_sweep),
        contextlib.redirect_stdout(terminal),
        contextlib.redirect_stderr(terminal),
    ):
        code = main(command)
    terminal.seek(0)
    said = terminal.read()
    assert (code, "Traceback" in said) == (0, False), said
    assert expected in said
