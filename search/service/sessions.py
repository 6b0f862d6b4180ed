"""Logins of browsers by name and password: kept in memory, while the browser has a random text."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

#: seconds after its last request for which a login is kept, and logins that are kept at once
KEPT_S, MOST_SESSIONS = 12 * 3600.0, 1_000
#: random bytes of the text that a browser keeps
RANDOM_BYTES = 32


class Sessions:
    """Which browser has logged in as whom.

    A browser never keeps a password, and no file does: when the service ends, all have to log in
    again. The login itself is kept, not whose it was, so that whoever uses it asks MLflow's server
    again from time to time, and a user who is deleted there is locked out here.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: by the hash of a browser's text: until when the login is kept, and the login
        self._logins: OrderedDict[str, tuple[float, str]] = OrderedDict()

    def begin(self, login: str) -> str:
        """Keep a login, as in a header `Authorization: Basic`; the text by which it is found."""
        session = secrets.token_urlsafe(RANDOM_BYTES)
        self._keep(_digest_of(session), login)
        return session

    def login_of(self, session: str) -> str:
        """The login that a browser has begun; empty if there is none, or no more."""
        digest = _digest_of(session)
        until, login = self._logins.pop(digest, (0.0, ""))
        if self._clock() >= until:
            return ""
        self._keep(digest, login)
        return login

    def end(self, session: str) -> None:
        """Forget a login."""
        self._logins.pop(_digest_of(session), None)

    def _keep(self, digest: str, login: str) -> None:
        self._logins[digest] = (self._clock() + KEPT_S, login)
        while len(self._logins) > MOST_SESSIONS:
            self._logins.popitem(last=False)


def _digest_of(session: str) -> str:
    return hashlib.sha256(session.encode("utf-8", "surrogatepass")).hexdigest()
