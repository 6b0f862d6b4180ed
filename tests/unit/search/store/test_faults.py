from __future__ import annotations

import errno
import sqlite3
import time

import pytest

from lstm_sweep.search.store import faults
from lstm_sweep.search.store.faults import (
    StoreError,
    insist,
    lasting,
    passes,
    reason,
    without_secrets,
)


class RestError(Exception):
    """Looks like an answer of a server to MLflow's client."""

    def __init__(self, status: int, text: str = "no") -> None:
        super().__init__(text)
        self._status = status

    def get_http_status_code(self) -> int:
        return self._status


class OperationalError(Exception):
    """Bears the name that databases' drivers use."""


def wrapped(cause: Exception, text: str = "wrapped") -> Exception:
    try:
        raise RuntimeError(text) from cause
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        ConnectionResetError(),
        TimeoutError(),
        OperationalError("could not connect to server"),
        wrapped(ConnectionRefusedError()),
        RestError(503),
        RestError(502),
        RestError(429),
        Exception("API request to http://x failed with exception Max retries exceeded"),
        sqlite3.OperationalError("database is locked"),
    ],
    ids=repr,
)
def test_what_passes_by_itself_is_asked_again(error: Exception) -> None:
    assert passes(error)
    assert lasting(error) == ""


@pytest.mark.parametrize(
    "error, why",
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no space left"),
        (OSError(errno.EDQUOT, "quota"), "no space left"),
        (PermissionError(errno.EACCES, "Permission denied"), "no permission to write"),
        (OSError(errno.EROFS, "Read-only file system"), "it cannot be written"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory"), "a file where a folder"),
        (sqlite3.OperationalError("database or disk is full"), "no space left"),
        (OperationalError("attempt to write a readonly database"), "it cannot be written"),
        (sqlite3.OperationalError("Could not decode to UTF-8 column"), "it is no text"),
        (wrapped(OSError(errno.ENOSPC, "x")), "no space left"),
        (RestError(503, "(sqlite3.OperationalError) database or disk is full"), "no space left"),
    ],
    ids=repr,
)
def test_what_lasts_is_named_and_not_asked_again(error: Exception, why: str) -> None:
    assert why in lasting(error)
    assert not passes(error)


@pytest.mark.parametrize(
    "error", [ValueError("x"), RestError(400), RestError(404), RestError(403), RestError(500)]
)
def test_other_errors_are_neither(error: Exception) -> None:
    assert not passes(error)
    assert not lasting(error)


def test_a_store_that_comes_back_has_not_failed() -> None:
    errors = [ConnectionRefusedError("first"), TimeoutError("second")]
    waits: list[tuple[str, float]] = []

    def ask() -> int:
        if errors:
            raise errors.pop(0)
        return 42

    assert insist(ask, "s", lambda why, wait: waits.append((why, wait))) == 42
    assert waits == [("first", 0.5), ("second", 1.0)]


def test_waits_grow_up_to_a_bound() -> None:
    waits: list[float] = []

    def ask() -> None:
        if len(waits) < 12:
            raise TimeoutError

    insist(ask, "s", lambda why, wait: waits.append(wait))
    assert waits == sorted(waits)
    assert waits[-1] == faults.LONGEST_WAIT_S


def test_without_patience_a_store_that_does_not_answer_is_one_clear_line() -> None:
    def ask() -> None:
        raise ConnectionRefusedError("nobody there")

    with pytest.raises(StoreError, match=r"store here does not answer: nobody there$"):
        insist(ask, "here", None)


def test_a_full_disk_is_not_waited_for() -> None:
    def ask() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StoreError, match="no space left"):
        insist(ask, "here", lambda why, wait: pytest.fail("waited"))


def test_an_error_of_ours_stays_what_it_is() -> None:
    def ask() -> None:
        raise KeyError("ours")

    with pytest.raises(KeyError):
        insist(ask, "here", lambda why, wait: pytest.fail("waited"))


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "planted")
    text = "postgresql://me:secret@host/db, http://a:b:c@host and planted"
    assert without_secrets(text) == "postgresql://me:***@host/db, http://a:***@host and ***"


@pytest.mark.parametrize(
    "text, shown",
    [
        ("postgresql://me:a/b?c#d@e@host/db", "postgresql://me:***@host/db"),
        ("at http://abcdef@host/x now", "at http://***@host/x now"),
        ("s3://bucket/key?X-Amz-Signature=abc&b=c now", "s3://bucket/key?*** now"),
        ("connect: host=h password=abc dbname=d", "connect: host=h password=*** dbname=d"),
        ("connect: host=h pwd=abc dbname=d", "connect: host=h pwd=*** dbname=d"),
        ("is it http://host:5000/x? yes", "is it http://host:5000/x? yes"),
    ],
)
def test_what_looks_like_a_secret_is_not_shown(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


def test_a_secret_of_an_address_is_not_shown_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "_hidden", set())
    faults.hide("plan%20ted/behind")
    text = "port 'plan ted', 'plan%20ted', behind and before"
    assert without_secrets(text) == "port 'plan ted', '***', *** and before"
    faults.hide("abc")
    assert without_secrets("abc") == "abc"  # too short to be looked for


@pytest.mark.parametrize("status, why", [(401, "name and the password"), (403, "not allow")])
def test_a_server_that_refuses_is_not_asked_again(status: int, why: str) -> None:
    error = RestError(status, "API request to endpoint /x failed with error code 4")
    assert not passes(error)

    def ask() -> None:
        raise error

    with pytest.raises(StoreError, match=f"^store here: it .*{why}"):
        insist(ask, "here", lambda why, wait: pytest.fail("waited"))


def test_a_reason_is_one_line() -> None:
    assert reason(ValueError("first\nsecond")) == "first"
    assert reason(ValueError()) == "ValueError"
    assert len(reason(ValueError("x" * 1000))) == 300


def test_the_steady_clock_does_not_follow_a_clock_that_is_set_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = faults.steady_clock()
    before = clock()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert clock() >= before > 1e9
