"""Who sends a request: by a token, by a browser's session, or as the proxy in front of it says."""

from __future__ import annotations

import getpass
import hashlib
import ipaddress
import re
import secrets
import time
from collections.abc import Callable, Mapping

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import Scope

from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.service.auth import PREFIX, USER_NAME, Role, TokenFile, User
from lstm_sweep.search.service.logs import Seldom
from lstm_sweep.search.service.problems import ProblemError
from lstm_sweep.search.service.settings import HttpSettings, Network

COOKIE = "lstm-sweep-session"
#: headers that a proxy adds: who asks is elsewhere, though the proxy is here
FORWARDED = ("x-forwarded-for", "forwarded")
#: seconds after its last request for which a session is kept, and sessions of one token
SESSION_S, MOST_SESSIONS = 12 * 3600.0, 20
#: random bytes of the text by which a session is found
RANDOM_BYTES = 32
#: what is said of a token that is nobody's, and what is expected of whoever gives none
UNKNOWN = "the token is not known: expected one that `lstm-sweep token add` has made"
EXPECTED = "expected the header `Authorization: Bearer TOKEN`, or to log in at /login"
WANTED = {"WWW-Authenticate": 'Bearer realm="lstm-sweep"'}


class Sessions:
    """Browsers that have logged in with a token; they keep a random text in its place.

    Sessions are in memory alone: after a restart of the service a browser logs in again.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: by the hash of a browser's text: until when it is kept, and the hash of its token; those
        #: that were used last come last
        self._found: dict[str, tuple[float, str]] = {}

    def begin(self, digest: str) -> str:
        """Begin a session of the token with this hash; the text by which it is found.

        The oldest session of the token ends if it has too many; those of others are kept.
        """
        now = self._clock()
        self._found = {key: kept for key, kept in self._found.items() if now < kept[0]}
        own = [key for key, (_, of) in self._found.items() if of == digest]
        for key in own[: max(0, len(own) - MOST_SESSIONS + 1)]:
            del self._found[key]
        session = secrets.token_urlsafe(RANDOM_BYTES)
        self._found[_digest_of(session)] = (now + SESSION_S, digest)
        return session

    def digest_of(self, session: str) -> str:
        """The hash of the token of a session, which is used now; empty if there is none."""
        key = _digest_of(session)
        until, digest = self._found.pop(key, (0.0, ""))
        if self._clock() >= until:
            return ""
        self._found[key] = (self._clock() + SESSION_S, digest)
        return digest

    def end(self, session: str) -> None:
        """Forget a session."""
        self._found.pop(_digest_of(session), None)


class Login:
    """Finds out who sends a request."""

    def __init__(self, settings: HttpSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self.tokens = TokenFile(settings.folder)
        self.sessions = Sessions(clock)
        self._settings, self._logs = settings, Seldom(clock)
        self._here = User(_own_name(), Role.ADMIN)

    def user_of(self, headers: Headers, *, by_proxy: bool = False) -> User:
        """Who sends a request with these headers; `by_proxy`: it came through the proxy.

        A token goes before what the proxy says, and both before a session. A good one of either is
        let in whatever others do: tokens have 256 random bits, so no failure slows anybody down.

        Raises:
            ProblemError: 401 without a login that is known, 403 for a name that can be none, 503 if
                the file of the tokens cannot be used.
        """
        try:
            return self._user_of(headers, by_proxy=by_proxy)
        except InputError as error:
            raise self._unusable(error) from None

    def _user_of(self, headers: Headers, *, by_proxy: bool) -> User:
        kind, _, given = headers.get("authorization", "").partition(" ")
        token = given.strip() if kind.lower() == "bearer" else ""
        if by_proxy and not token.startswith(PREFIX) and (name := self._name_in(headers)):
            return self._named(name)
        if kind:
            return self.tokens.find(token) or _refuse(UNKNOWN)
        session = cookie_of(headers)
        digest = self.sessions.digest_of(session) if session else ""
        if user := self.tokens.user_with(digest):
            return user
        is_here = not any(name in headers for name in FORWARDED)
        if is_here and not self._settings.asks_login:
            return self._here
        return _refuse(f"{'the session has ended' if session else 'no token is given'}: {EXPECTED}")

    def begin_session(self, token: str) -> tuple[str, User]:
        """Log a browser in with a token: the text for its cookie, and whose it is.

        Raises:
            ProblemError: 401 for an unknown token, 503 as of `user_of`.
        """
        try:
            user = self.tokens.find(token) or _refuse(UNKNOWN)
        except InputError as error:
            raise self._unusable(error) from None
        return self.sessions.begin(_digest_of(token)), user

    def _unusable(self, error: InputError) -> ProblemError:
        """The refusal of anybody whom a token could let in; only the log names the file."""
        self._logs.error("tokens", str(error))
        return ProblemError(503, "the tokens of the service cannot be read: its log says why")

    def _name_in(self, headers: Headers) -> str:
        """The name that the proxy gives; empty if it gives none.

        Raises:
            ProblemError: 403, it gives several, so that one of them may be the client's.
        """
        if not self._settings.user_header:
            return ""
        names = [name for name in headers.getlist(self._settings.user_header) if name]
        if len(names) > 1:
            raise ProblemError(
                403,
                f"the header {self._settings.user_header} comes {len(names)} times: expected it "
                f"once, from the proxy",
            )
        return names[0] if names else ""

    def _named(self, name: str) -> User:
        """The user whom the proxy names, with the role of the token of this name if there is one.

        Raises:
            ProblemError: 403, it can be no name.
        """
        if not USER_NAME.fullmatch(name):
            raise ProblemError(
                403,
                f"the proxy names the user {shown(name)}: expected up to 100 letters, digits, '.', "
                f"'_', '@', '+' and '-'",
            )
        own = next((row for row in self.tokens.rows() if row.name == name), None)
        return User(name, own.role if own else self._settings.user_role)


def resolve_forwarded(scope: Scope, proxies: tuple[Network, ...]) -> bool:
    """Put who asked the proxy in place of its address in a request; whether it came by a proxy.

    The scheme is that in which the proxy was asked. Of several addresses in `X-Forwarded-For` the
    last counts that is no proxy's: what stands before it may be a client's own invention.
    """
    client = scope.get("client")
    if not client or not _is_in(str(client[0]), proxies):
        return False
    headers = Headers(scope=scope)
    given = ",".join(headers.getlist("x-forwarded-for")).split(",")
    for address in (part.strip() for part in reversed(given)):
        if _address(address) is None:
            break
        scope["client"] = (address, 0)
        if not _is_in(address, proxies):
            break
    scheme = headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
    if scheme in ("http", "https"):
        scope["scheme"] = scheme
    return True


def parse_proxies(given: tuple[str, ...]) -> tuple[Network, ...]:
    """The addresses and networks that `--proxy` names.

    Raises:
        InputError: one of them is neither.
    """
    found = []
    for text in given:
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError:
            raise InputError(
                f"--proxy is {shown(text)}: expected an address such as 10.0.0.2, or a network "
                f"such as 10.0.0.0/29"
            ) from None
    return tuple(found)


def check_user_header(name: str) -> str:
    """A name of a header as `--user-header` gives it.

    Raises:
        InputError: it can be none, or is one that clients send themselves.
    """
    is_own = name.lower() in OWN_HEADERS or name.lower().startswith(OWN_BEGINNINGS)
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,99}", name) or is_own:
        raise InputError(
            f"--user-header is {shown(name)}: expected the name of a header that the proxy sets, "
            f"such as Remote-User"
        )
    return name.lower()


#: headers that have a meaning of their own, most of which clients send, and their beginnings
OWN_HEADERS = frozenset(
    {
        "authorization", "cache-control", "cf-connecting-ip", "connection", "cookie", "date", "dnt",
        "expect", "from", "host", "keep-alive", "last-event-id", "origin", "pragma", "priority",
        "proxy-authorization", "proxy-connection", "range", "referer", "te", "trailer",
        "transfer-encoding", "true-client-ip", "upgrade", "upgrade-insecure-requests",
        "user-agent", "via", "x-client-ip", "x-forwarded-host", "x-forwarded-port",
        "x-forwarded-proto", "x-real-ip", "x-request-id", "x-requested-with", *FORWARDED,
    }
)  # fmt: skip
OWN_BEGINNINGS = ("accept", "access-control-", "content-", "if-", "lstm-sweep-", "sec-")


def cookie_of(headers: Mapping[str, str]) -> str:
    """The text of a session in the cookie of a request; empty if there is none."""
    return cookie_parser(headers.get("cookie", "")).get(COOKIE, "")


def _refuse(why: str) -> User:
    raise ProblemError(401, why, headers=WANTED)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if found.version == 6 else found


def _is_in(text: str, networks: tuple[Network, ...]) -> bool:
    found = _address(text)
    return found is not None and any(found in network for network in networks)


def _digest_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _own_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
