from __future__ import annotations

import errno
import sqlite3
import time

import pytest

from lstm_sweep.search.process.os_errors import permanent_reason
from lstm_sweep.search.store import faults
from lstm_sweep.search.store.faults import StoreError, is_transient, retry


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
def test_a_transient_error_is_retried(error: Exception) -> None:
    assert is_transient(error)
    assert permanent_reason(error) == ""


@pytest.mark.parametrize(
    "error", [ValueError("x"), RestError(400), RestError(404), RestError(403), RestError(500)]
)
def test_other_errors_are_neither(error: Exception) -> None:
    assert not is_transient(error)
    assert not permanent_reason(error)


def test_a_store_that_comes_back_has_not_failed() -> None:
    errors = [ConnectionRefusedError("first"), TimeoutError("second")]
    waits: list[tuple[str, float]] = []

    def ask() -> int:
        if errors:
            raise errors.pop(0)
        return 42

    assert retry(ask, "s", lambda why, wait: waits.append((why, wait))) == 42
    assert waits == [("first", 0.5), ("second", 1.0)]


def test_without_patience_a_store_that_does_not_answer_is_one_clear_line() -> None:
    def ask() -> None:
        raise ConnectionRefusedError("nobody there")

    with pytest.raises(
        StoreError, match=r"store here does not answer: nobody there; expected one that"
    ):
        retry(ask, "here", None)


def test_a_full_disk_is_not_waited_for() -> None:
    def ask() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StoreError, match="no space left"):
        retry(ask, "here", lambda why, wait: pytest.fail("waited"))


@pytest.mark.parametrize("status, why", [(401, "name and the password"), (403, "not allow")])
def test_a_server_that_refuses_is_not_asked_again(status: int, why: str) -> None:
    error = RestError(status, "API request to endpoint /x failed with error code 4")
    assert not is_transient(error)

    def ask() -> None:
        raise error

    with pytest.raises(StoreError, match=f"^store here: it .*{why}"):
        retry(ask, "here", lambda why, wait: pytest.fail("waited"))


def test_the_steady_clock_does_not_follow_a_clock_that_is_set_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = faults.steady_clock()
    before = clock()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert clock() >= before > 1e9
