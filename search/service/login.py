"""Who sends a request: a token, or the name and password of a user of MLflow."""

from __future__ import annotations

import base64
import getpass
import hashlib
import http.client
import json
import math
import time
import urllib.error
import urllib.request
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from anyio import CapacityLimiter, Lock, to_thread
from starlette.requests import cookie_parser

from lstm_sweep.search.service.http_settings import API, HttpSettings
from lstm_sweep.search.service.permissions import Role, User
from lstm_sweep.search.service.problems import ProblemError
from lstm_sweep.search.service.sessions import Sessions
from lstm_sweep.search.service.tokens import LONGEST, PREFIX, TokenFile
from lstm_sweep.search.store.auth import direct

COOKIE = "lstm-sweep-token"
#: headers that a proxy adds: who asks is elsewhere, though the proxy is here
FORWARDED = ("x-forwarded-for", "forwarded")
#: where a proxy asks for the login that it is to send on to MLflow's server
FOR_MLFLOW = f"{API}/session/mlflow"
#: what MLflow's server tells of the user who asks
WHO = "/api/2.0/mlflow/users/current"
#: seconds for which a checked password is remembered, and that MLflow's server has to answer
REMEMBERED_S, ANSWER_WITHIN_S = 60.0, 5.0
#: seconds within which failures of an address are counted, and addresses that are remembered
WITHIN_S, MOST_ADDRESSES = 60.0, 10_000
#: logins that are remembered, and threads that ask MLflow's server for others
MOST_LOGINS, ASKERS = 1_000, 4
WANTED = {"WWW-Authenticate": 'Bearer realm="lstm-sweep"'}
WANTED_BASIC = {"WWW-Authenticate": 'Bearer realm="lstm-sweep", Basic realm="lstm-sweep"'}


class Failures:
    """Counts failed logins of each address within a minute."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._of: OrderedDict[str, deque[float]] = OrderedDict()

    def note(self, address: str) -> None:
        """Count a failed login from an address."""
        times = self._of.setdefault(address, deque(maxlen=self._most))
        self._of.move_to_end(address)
        times.append(self._clock())
        while len(self._of) > MOST_ADDRESSES:
            self._of.popitem(last=False)

    def wait_s(self, address: str) -> float:
        """Seconds until the address may try again; 0 if it may."""
        times = self._of.get(address)
        if not times or len(times) < self._most:
            return 0.0
        return max(0.0, times[0] + WITHIN_S - self._clock())


class Turns:
    """Lets those of one address in one after the other; only addresses of now are kept."""

    def __init__(self) -> None:
        self._locks: dict[str, Lock] = {}

    def __len__(self) -> int:
        return len(self._locks)

    @asynccontextmanager
    async def of(self, address: str) -> AsyncIterator[None]:
        """The turn of one of an address; it is waited for."""
        lock = self._locks.setdefault(address, Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked():  # nobody waits for it
                self._locks.pop(address, None)


class Login:
    """Finds out who sends a request."""

    def __init__(self, settings: HttpSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self.tokens = TokenFile(settings.folder)
        self.failures = Failures(settings.limits.failures, clock)
        self.sessions = Sessions(clock)
        self.turns = Turns()
        self._settings, self._clock = settings, clock
        self._askers = CapacityLimiter(ASKERS)
        #: when MLflow's server last gave no answer
        self._silent = -math.inf
        #: users of MLflow by the hash of their login, and until when they are remembered
        self._known: OrderedDict[str, tuple[float, User]] = OrderedDict()
        self._here = User(_own_name(), Role.ADMIN)

    async def user_of(self, headers: Mapping[str, str], address: str) -> User:
        """Who sends a request with these headers from an address.

        A token that is good is always let in, so nobody can lock others out by failing; passwords
        are not even looked at while too many have failed.

        Raises:
            ProblemError: 401 without a login that is known, 429 after too many of them, 503 if
                MLflow's server cannot be asked.
        """
        kind, _, given = headers.get("authorization", "").partition(" ")
        token = given.strip() if kind.lower() == "bearer" else ""
        password = given.strip() if kind.lower() == "basic" else ""
        if not kind:
            token = cookie_of(headers)
            password = self.sessions.login_of(token) if token else ""
            if not password and not token.startswith(PREFIX):
                token = ""  # the service has forgotten it, which is no attempt to guess one
        is_here = not any(name in headers for name in FORWARDED)
        if is_here and not self._settings.asks_login and not (token or kind):
            return self._here
        user = self.tokens.find(token) if token else None
        if user is None and password and self._settings.mlflow:
            return await self._mlflow_user(password, address)
        return user or self._refuse(address, given=bool(token or kind))

    def for_mlflow(self, headers: Mapping[str, str]) -> str:
        """What MLflow's server is to get as `Authorization` with a request; empty for none.

        That is what the request has itself, or else the password by which its browser has logged in
        here. Nobody is refused: MLflow's server asks for a login itself.
        """
        if given := headers.get("authorization"):
            return given
        cookie = cookie_of(headers)
        login = self.sessions.login_of(cookie) if cookie else ""
        return f"Basic {login}" if login else ""

    def _refuse(self, address: str, *, given: bool) -> User:
        wanted = WANTED_BASIC if self._settings.mlflow else WANTED
        if not given:
            expected = "expected a token in the header `Authorization: Bearer TOKEN`"
            raise ProblemError(401, f"no token is given: {expected}", headers=wanted)
        self._check_rate(address)
        self.failures.note(address)
        expected = "expected a token that `lstm-sweep token add` has made"
        if self._settings.mlflow:
            expected += ", or name and password of a user of MLflow"
        raise ProblemError(401, f"the login is not known: {expected}", headers=wanted)

    def _check_rate(self, address: str) -> None:
        if wait := self.failures.wait_s(address):
            raise ProblemError(
                429,
                f"too many logins of {address} have failed: expected to wait {wait:.0f} s",
                headers={"Retry-After": str(int(wait) + 1)},
            )

    async def _mlflow_user(self, given: str, address: str) -> User:
        """The user of MLflow whose login this is.

        Each of an address is asked about after the one before it was counted, so that no more can
        fail than may.
        """
        key = hashlib.sha256(given.encode("utf-8", "surrogatepass")).hexdigest()
        if user := self._remembered(key):
            return user
        self._check_rate(address)
        began = self._clock()
        async with self.turns.of(address):
            if self._silent > began:  # as it was for the one before
                raise _no_answer()
            return self._remembered(key) or await self._ask(key, given, address)

    def _remembered(self, key: str) -> User | None:
        until, user = self._known.get(key, (0.0, None))
        return user if self._clock() < until else None

    async def _ask(self, key: str, given: str, address: str) -> User:
        """The user of MLflow with a login, who is remembered by its hash."""
        self._check_rate(address)
        asked = f"{self._settings.mlflow}{WHO}"
        try:
            user = await to_thread.run_sync(ask_mlflow, asked, given, limiter=self._askers)
        except ProblemError:
            self._silent = self._clock()
            raise
        if user is None:
            return self._refuse(address, given=True)
        self._known[key] = (self._clock() + REMEMBERED_S, user)
        while len(self._known) > MOST_LOGINS:
            self._known.popitem(last=False)
        return user


def ask_mlflow(at: str, given: str) -> User | None:
    """The user of MLflow's server with a login, None if nobody's; an admin may run, others read.

    Raises:
        ProblemError: the server does not say.
    """
    try:
        base64.b64decode(given, validate=True)
        request = urllib.request.Request(at, headers={"Authorization": f"Basic {given}"})
        with direct.open(request, timeout=ANSWER_WITHIN_S) as answer:
            found = json.loads(answer.read(65_536))["user"]
        role = Role.ADMIN if found["is_admin"] is True else Role.READ
        return User(str(found["username"]), role)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code < 500:
            return None
    except (ValueError, KeyError, TypeError):
        return None
    except (OSError, http.client.HTTPException):
        pass
    raise _no_answer()


def _no_answer() -> ProblemError:
    return ProblemError(503, "MLflow's server does not say whose login this is: try again")


def basic_login(name: str, password: str) -> str:
    """A name and a password as in a header `Authorization: Basic`, RFC 7617.

    Raises:
        ProblemError: they are empty, too long, or cannot be sent so.
    """
    if not (0 < len(name) <= LONGEST and 0 < len(password) <= LONGEST):
        raise ProblemError(
            422, f"name or password is empty or longer than {LONGEST} characters: expected both"
        )
    if ":" in name:
        raise ProblemError(422, "the name has a colon: expected one without")
    return base64.b64encode(f"{name}:{password}".encode("utf-8", "surrogatepass")).decode()


def cookie_of(headers: Mapping[str, str]) -> str:
    """The token in the cookie of a request; empty if there is none."""
    return cookie_parser(headers.get("cookie", "")).get(COOKIE, "")


def _own_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
