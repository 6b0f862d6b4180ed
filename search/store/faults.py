"""Failures of the store: which of them pass by themselves, and what they are called."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Iterator, MutableMapping
from typing import TypeVar
from urllib.parse import unquote

from lstm_sweep.models.errors import InputError

Answer = TypeVar("Answer")

#: seconds between two tries: the first wait, and the longest
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 15.0
NO_SPACE = "no space left"
#: errors of the system that do not pass, and what to call them
LASTING = {
    errno.ENOSPC: NO_SPACE,
    errno.EDQUOT: NO_SPACE,
    errno.EACCES: "no permission to write",
    errno.EPERM: "no permission to write",
    errno.EROFS: "it cannot be written",
    errno.ENOTDIR: "there is a file where a folder is expected",
    errno.EISDIR: "there is a folder where a file is expected",
    errno.EEXIST: "there is a file where a folder is expected",
}
#: how databases and servers say the same
LASTING_WORDS = {
    "disk is full": NO_SPACE,
    "No space left": NO_SPACE,
    "readonly database": "it cannot be written",
    "Could not decode to UTF-8": "something in it is no text",
}
#: errors of the system that pass once the other side is back
PASSING = (ConnectionError, TimeoutError)
#: names of the errors by which libraries say that nobody answers
PASSING_NAMES = {"ConnectionError", "ConnectTimeout", "ReadTimeout", "Timeout", "OperationalError"}
#: words of MLflow's client for an answer that did not come, and of a database that is in use
PASSING_WORDS = ("API request to", "database is locked")
#: answers of a server that is overloaded, starting, or not itself
PASSING_STATUS = (429, 500, 502, 503, 504)
#: answers of a server that does not let this user in, or not do this
REFUSED = {
    401: "it wants the name and the password of one of its users, expected in "
    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    403: "it does not allow this",
}
#: variables whose values no message may show
SECRETS = (
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_AUTH_ADMIN_PASSWORD",
    "MLFLOW_FLASK_SERVER_SECRET_KEY",
    "PGPASSWORD",
    "MYSQL_PWD",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_CONNECTION_STRING",
)
#: words in the names of options whose values no message may show
SECRET_WORDS = "pass|password|passwd|passphrase|pwd|token|secret"
#: characters of a secret that is looked for in every text, at least
SHORTEST_SECRET = 4
#: secrets of addresses that are in use
_hidden: set[str] = set()


class BadRunError(InputError):
    """A run in the store does not hold what this program writes; the message names the run."""


class StoreError(Exception):
    """The store has failed in a way that does not pass by itself; the message is for people."""


def lasting(error: BaseException) -> str:
    """Why the store fails, if that lasts until somebody does something; else nothing."""
    for cause in _chain(error):
        if isinstance(cause, OSError) and cause.errno in LASTING:
            return LASTING[cause.errno]
        for words, name in LASTING_WORDS.items():
            if words in str(cause):
                return name
    return ""


def refused(error: BaseException) -> str:
    """Why a server refuses this user, if it does; else nothing."""
    for cause in _chain(error):
        if why := REFUSED.get(_status(cause) or 0):
            return why
    return ""


def passes(error: BaseException) -> bool:
    """Whether it makes sense to try again."""
    if lasting(error) or refused(error):
        return False
    return any(_passes(cause) for cause in _chain(error))


def _passes(cause: BaseException) -> bool:
    if isinstance(cause, PASSING) or type(cause).__name__ in PASSING_NAMES:
        return True
    if _status(cause) in PASSING_STATUS:
        return True
    return any(words in str(cause) for words in PASSING_WORDS)


def _status(cause: BaseException) -> int | None:
    """Status of the answer of a server."""
    status: int | None = getattr(getattr(cause, "response", None), "status_code", None)
    if status is None and hasattr(cause, "get_http_status_code"):
        status = cause.get_http_status_code()
        if status == 500:  # MLflow's word for whatever else went wrong in this very process
            status = None
    return status


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__


def reason(error: BaseException) -> str:
    """The first line of an error, without secrets."""
    lines = str(error).strip().splitlines()
    return without_secrets(lines[0] if lines else type(error).__name__)[:300]


def hide(secret: str) -> None:
    """Let no message show a secret of an address, or a part of it, from now on."""
    parts = {secret, unquote(secret), *re.split(r"[/@:?#]", secret)}
    _hidden.update(part for part in parts if len(part) >= SHORTEST_SECRET)


def take_secrets(environment: MutableMapping[str, str]) -> None:
    """Take all secrets out of an environment; messages do not show them afterwards either."""
    _hidden.update({environment.pop(name, "") for name in SECRETS} - {""})


def without_secrets(text: str) -> str:
    """A text without logins and options in addresses, and without the secrets that are known."""
    text = re.sub(r"(://[^\s/@:]*:)\S*@", r"\1***@", text)
    text = re.sub(r"(https?://)[^\s/@:]+@", r"\1***@", text)
    text = re.sub(r"(://[^\s?]*\?)[^\s=]*=\S*", r"\1***", text)
    text = re.sub(rf"(?i)\b(\w*(?:{SECRET_WORDS}))=[^\s&;,]+", r"\1=***", text)
    known = {os.environ.get(name, "") for name in SECRETS} | _hidden
    for secret in sorted(known - {""}, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


#: called while the store does not answer: why, and how long to do something else
Waiting = Callable[[str, float], None]


def insist(ask: Callable[[], Answer], store: str, waiting: Waiting | None) -> Answer:
    """Ask the store; while it does not answer, wait and ask again.

    Without `waiting` it is asked once.

    Raises:
        StoreError: it fails, and there is no use in asking again.
    """
    wait = FIRST_WAIT_S
    while True:
        try:
            return ask()
        except Exception as error:
            if why := lasting(error):
                raise StoreError(f"store {store}: {why} ({reason(error)})") from error
            if why := refused(error):
                raise StoreError(f"store {store}: {why} ({reason(error)})") from error
            if not passes(error):
                raise
            if waiting is None:
                raise StoreError(f"store {store} does not answer: {reason(error)}") from error
            waiting(reason(error), wait)
            wait = min(2 * wait, LONGEST_WAIT_S)


def steady_clock() -> Callable[[], float]:
    """Seconds since 1970 that never run backwards, whatever is done to the system's clock."""
    offset = time.time() - time.monotonic()
    return lambda: offset + time.monotonic()
