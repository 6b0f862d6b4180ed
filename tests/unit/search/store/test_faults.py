from __future__ import annotations

import errno
import sqlite3
import time

import pytest

from lstm_sweep.search.store.base import now_ms
from lstm_sweep.search.store.faults import NoAnswerError, StoreError, reported


class RestError(Exception):
    """Looks like an answer of a server to MLflow's client."""

    def __init__(self, status: int, text: str = "no") -> None:
        super().__init__(text)
        self._status = status

    def get_http_status_code(self) -> int:
        return self._status


class OperationalError(Exception):
    """Bears the name that databases' drivers use."""


def wrapped(cause: Exception) -> Exception:
    error = RuntimeError("wrapped")
    error.__cause__ = cause
    return error


UNANSWERED = r"^store here does not answer: .*; expected one that does: try again when it runs"


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        *(
            (error, NoAnswerError, UNANSWERED)
            for error in (
                ConnectionRefusedError("nobody there"),
                ConnectionResetError(),
                TimeoutError(),
                OperationalError("could not connect to server"),
                wrapped(ConnectionRefusedError()),
                RestError(503),
                RestError(502),
                RestError(429),
                Exception("API request to http://x failed with exception Max retries exceeded"),
                sqlite3.OperationalError("database is locked"),
            )
        ),
        (OSError(errno.ENOSPC, "No space left on device"), StoreError, "no space left"),
        (RestError(401, "API request to /x"), StoreError, "^store here: it .*name and the p"),
        (RestError(403, "API request to /x"), StoreError, "^store here: it .*not allow"),
        *((RestError(status), RestError, "no") for status in (400, 404, 500)),
        (ValueError("x"), ValueError, "^x$"),
    ],
    ids=repr,
)
def test_what_fails_is_waited_for_reported_or_not_of_the_store(
    error: Exception, kind: type[Exception], said: str
) -> None:
    def ask() -> None:
        raise error

    with pytest.raises(kind, match=said) as caught:
        reported(ask, "here")
    assert type(caught.value) is kind


def test_the_time_does_not_follow_a_clock_that_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = now_ms()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert now_ms() >= before > 1e12
