from __future__ import annotations

import errno
import sqlite3
import time
from collections.abc import Callable

import pytest

from lstm_sweep.search.process.files import permanent_reason
from lstm_sweep.search.store import faults
from lstm_sweep.search.store.faults import NoAnswerError, StoreError, is_transient, reported


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


def refusing(error: Exception) -> Callable[[], None]:
    def ask() -> None:
        raise error

    return ask


def test_a_store_that_does_not_answer_is_one_clear_line() -> None:
    said = r"^store here does not answer: nobody there; expected one that"
    with pytest.raises(NoAnswerError, match=said):
        reported(refusing(ConnectionRefusedError("nobody there")), "here")


@pytest.mark.parametrize(
    "error, said",
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no space left"),
        (RestError(401, "API request to endpoint /x failed"), "^store here: it .*name and the p"),
        (RestError(403, "API request to endpoint /x failed"), "^store here: it .*not allow"),
    ],
)
def test_a_full_disk_and_a_server_that_refuses_are_not_waited_for(
    error: Exception, said: str
) -> None:
    assert not is_transient(error)
    with pytest.raises(StoreError, match=said) as caught:
        reported(refusing(error), "here")
    assert not isinstance(caught.value, NoAnswerError)


def test_the_steady_clock_does_not_follow_a_clock_that_is_set_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = faults.steady_clock()
    before = clock()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert clock() >= before > 1e12
