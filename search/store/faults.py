"""Failures of the store: which are worth a retry, and how they are reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.process.files import causes, permanent_reason
from lstm_sweep.search.process.secrets import without_secrets

Answer = TypeVar("Answer")

#: characters of a reason; messages with the timeout of a request have about 380
LONGEST_REASON = 400
#: what to do about a store that does not answer
AGAIN = "expected one that does: try again when it runs"
#: names of exceptions by which libraries report that no server answers
TRANSIENT_NAMES = {
    "ConnectionError", "ConnectTimeout", "ReadTimeout", "Timeout", "OperationalError",
}  # fmt: skip
#: texts of MLflow's client for a missing answer, and of a database that another process uses
TRANSIENT_PHRASES = ("API request to", "database is locked")
#: HTTP status of a server that is overloaded, starting or failing
TRANSIENT_STATUS = (429, 500, 502, 503, 504)
#: HTTP status of a server that rejects this user or this request
REFUSED = {
    401: "it wants the name and the password of one of its users, expected in "
    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    403: "it does not allow this",
}


class BadRunError(InputError):
    """A run in the store does not hold what this program writes; the message names the run."""


class NoSuchRunError(InputError):
    """The store has no sweep or trial that is meant so."""


class StoreError(Exception):
    """The store refuses, cannot be written, or does not answer and the caller does not wait."""


class NoAnswerError(StoreError):
    """The store does not answer; the same request may succeed later without anybody's help."""

    def __init__(self, store: str, why: str) -> None:
        super().__init__(f"store {store} does not answer: {why}; {AGAIN}")
        self.why = why


def refused(error: BaseException) -> str:
    """Why a server rejects this user or request; "" if it does not."""
    found = (REFUSED.get(_status(cause), "") for cause in causes(error))
    return next(filter(None, found), "")


def _status(cause: BaseException) -> int:
    """HTTP status of a server's answer; 0 if the error carries none."""
    status: int = getattr(getattr(cause, "response", None), "status_code", None) or 0
    if not status and hasattr(cause, "get_http_status_code"):
        status = cause.get_http_status_code()
        return 0 if status == 500 else status  # MLflow gives it to errors of this process too
    return status


def _is_transient(cause: BaseException) -> bool:
    return (
        isinstance(cause, ConnectionError | TimeoutError)
        or type(cause).__name__ in TRANSIENT_NAMES
        or _status(cause) in TRANSIENT_STATUS
        or any(phrase in str(cause) for phrase in TRANSIENT_PHRASES)
    )


def reason(error: BaseException) -> str:
    """The first line of an error, without secrets, at most `LONGEST_REASON` characters."""
    lines = str(error).strip().splitlines()
    return without_secrets(lines[0] if lines else type(error).__name__)[:LONGEST_REASON]


def reported(call: Callable[[], Answer], store: str) -> Answer:
    """What a request to a store returns; its failures are raised as `StoreError`."""
    try:
        return call()
    except Exception as error:
        if why := permanent_reason(error) or refused(error):
            raise StoreError(f"store {store}: {why} ({reason(error)})") from error
        if any(map(_is_transient, causes(error))):
            raise NoAnswerError(store, reason(error)) from error
        raise
