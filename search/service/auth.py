"""Who sends a request, and what they may do: tokens, browsers' sessions, users of a proxy, roles.

Tokens are kept hashed, in a file that only this user may read.
"""

from __future__ import annotations

import getpass
import hashlib
import hmac
import ipaddress
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from starlette.datastructures import Headers
from starlette.requests import Request, cookie_parser
from starlette.responses import Response
from starlette.types import Scope

from lstm_sweep.models.documents import json_text
from lstm_sweep.models.errors import InputError, one_of, refusing, shown
from lstm_sweep.search.process.files import locked, replace_text
from lstm_sweep.search.service.answers import ProblemError
from lstm_sweep.search.service.logs import Seldom
from lstm_sweep.search.service.settings import HttpSettings, Network, Role
from lstm_sweep.search.values.documents import OMITTED, Document

#: the highest priority that whoever is no admin may give a sweep
MOST_PRIORITY = 0
#: what can be the name of a user: as of a sweep, or the address by which a proxy knows somebody
USER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}")
TOKENS_FILE = "tokens.json"
#: beginning of each token, by which people and programs recognize one
PREFIX = "lstm-sweep-"
#: random bytes of a token or session; as many as cannot be guessed, so a plain hash keeps it secret
RANDOM_BYTES = 32
#: characters of the longest token that is looked at
LONGEST_TOKEN = 200
COOKIE = "lstm-sweep-session"
#: seconds after its last request for which a session is kept, and sessions of one token
SESSION_S, MOST_SESSIONS = 12 * 3600.0, 20
EXPECTED = "expected the header `Authorization: Bearer TOKEN`, or to log in at /login"
#: headers that a proxy adds: who asks is elsewhere, though the proxy is here
FORWARDED = ("x-forwarded-for", "forwarded")
#: headers that have a meaning of their own, most of which clients send themselves
NO_NAMES = re.compile(
    "(accept|access-control|cache|content|if|keep|last|lstm-sweep|proxy|sec|transfer|upgrade|"
    "user-agent|x-client|x-real|x-request)(-.*)?|authorization|connection|cookie|date|dnt|expect|"
    "forwarded|from|host|origin|pragma|priority|range|referer|te|trailer|true-client-ip|via|"
    "cf-connecting-ip|x-forwarded-(for|host|port|proto)"
)


@dataclass(frozen=True)
class User(Document):
    """Who has sent a request."""

    name: str
    role: Role

    @property
    def may_run(self) -> bool:
        return self.role is not Role.READ

    @property
    def is_admin(self) -> bool:
        return self.role is Role.ADMIN

    def may_change(self, owner: str | None) -> bool:
        return self.is_admin or (self.may_run and bool(owner) and owner == self.name)


def check_owner(user: User, owner: str | None, what: str) -> None:
    """Refuse a change of what is somebody else's, or of nobody, which is for admins."""
    if user.may_change(owner):
        return
    whose, who = f"is {owner}'s", f"{owner} or an admin"
    if not owner:
        whose, who = "was made without the service", "an admin"
    raise ProblemError(403, f"{what} {whose}: expected {who} for this, '{user.name}' is neither")


def check_may_prioritise(user: User, priority: int) -> None:
    if priority > MOST_PRIORITY and not user.is_admin:
        raise ProblemError(
            403,
            f"priority is {priority}, and '{user.name}' is no admin: expected {MOST_PRIORITY} or "
            f"less, or an admin",
        )


@dataclass(frozen=True)
class TokenRow(Document):
    """A token in the file, without itself."""

    name: str
    role: Role
    #: SHA-256 of the token, in hexadecimal
    digest: str = field(metadata=OMITTED)
    #: when it was made, ISO 8601, UTC
    created: str


class TokenFile:
    """The tokens of a service, read each time: other processes change them."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / TOKENS_FILE

    def rows(self) -> tuple[TokenRow, ...]:
        try:
            found = self.file.lstat()
            own = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
            if not own or stat.S_IMODE(found.st_mode) & 0o077:
                said = "expected a file that nobody but you may read (0600)"
                raise InputError(f"{self.file}: {said}")
            text = self.file.read_bytes()
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise InputError(f"{self.file}: {error.strerror}, expected to read it") from None
        try:
            return tuple(
                TokenRow(row["name"], Role(row["role"]), row["sha256"], row["created"])
                for row in json.loads(text)["tokens"]
            )
        except (ValueError, TypeError, KeyError, RecursionError):
            raise InputError(
                f"{self.file}: expected tokens as `lstm-sweep token add` writes them"
            ) from None

    def add(self, name: str, role: str) -> str:
        if not USER_NAME.fullmatch(name):
            raise InputError(
                f"token is {shown(name)}: expected up to 100 letters, digits, '.', '_', '@', '+' "
                f"and '-', a letter or digit first"
            )
        if role not in list(Role):
            raise InputError(f"--role is {shown(role)}: {one_of(role, list(Role))}")
        token = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with locked(self.file.parent):
            rows = self.rows()
            if any(row.name == name for row in rows):
                raise InputError(f"token '{name}' exists, expected a new name, or revoke it first")
            self._write((*rows, TokenRow(name, Role(role), _digest_of(token), now)))
        return token

    def revoke(self, name: str) -> TokenRow:
        with locked(self.file.parent):
            rows = {row.name: row for row in self.rows()}
            if name not in rows:
                names = one_of(name, list(rows)) if rows else "there are none"
                raise InputError(f"token {shown(name)}: no such token; {names}")
            revoked = rows.pop(name)
            self._write(tuple(rows.values()))
        return revoked

    def _write(self, rows: tuple[TokenRow, ...]) -> None:
        written = [row.to_dict() | {"sha256": row.digest} for row in rows]
        with refusing(str(self.file), "expected to write it"):
            replace_text(self.file, json_text({"tokens": written}, indent=1), lasting=True)


class Login:
    """Finds out who sends a request; sessions of browsers are in memory alone."""

    def __init__(self, settings: HttpSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self.tokens = TokenFile(settings.folder)
        self._settings, self._clock, self._logs = settings, clock, Seldom(clock)
        self._here = User(_own_name(), Role.ADMIN)
        #: by the hash of a browser's text: until when it is kept, and the hash of its token
        self._sessions: dict[str, tuple[float, str]] = {}

    def user_of(self, headers: Headers, *, by_proxy: bool = False) -> User:
        """Who sends a request; `by_proxy`: it came through the proxy.

        A token goes before what the proxy says, and both before a session. Tokens have 256 random
        bits, so no failure slows anybody down. Raises `ProblemError` 401 or 403.
        """
        kind, _, given = headers.get("authorization", "").partition(" ")
        token = given.strip() if kind.lower() == "bearer" else ""
        if by_proxy and not token.startswith(PREFIX) and (name := self._name_in(headers)):
            own = [row.role for row in self._rows() if row.name == name]
            return User(name, own[0] if own else self._settings.user_role)
        if kind:
            return self._user_with(token)
        session = cookie_of(headers)
        if session and (user := self._find(self._use(session))):
            return user
        is_here = not any(name in headers for name in FORWARDED)
        if is_here and not self._settings.asks_login:
            return self._here
        raise _refused(f"{'the session has ended' if session else 'no token is given'}: {EXPECTED}")

    def begin_session(self, token: str) -> tuple[str, User]:
        """The text for a cookie, and whose it is."""
        user, now, digest = self._user_with(token), self._clock(), _digest_of(token)
        self._sessions = {key: kept for key, kept in self._sessions.items() if now < kept[0]}
        own = [key for key, (_, of) in self._sessions.items() if of == digest]
        for key in own[: max(0, len(own) - MOST_SESSIONS + 1)]:
            del self._sessions[key]
        session = secrets.token_urlsafe(RANDOM_BYTES)
        self._sessions[_digest_of(session)] = (now + SESSION_S, digest)
        return session, user

    def enter(self, answer: Response, request: Request, token: str) -> Response:
        session, request.state.user = self.begin_session(token)
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, session, httponly=True, samesite="strict", secure=secure)
        return answer

    def leave(self, answer: Response, request: Request) -> Response:
        self._sessions.pop(_digest_of(cookie_of(request.headers)), None)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    def _use(self, session: str) -> str:
        """The hash of the token of a session, which is kept for longer; empty if there is none."""
        key, now = _digest_of(session), self._clock()
        until, digest = self._sessions.pop(key, (now, ""))
        if now >= until:
            return ""
        self._sessions[key] = (now + SESSION_S, digest)
        return digest

    def _user_with(self, token: str) -> User:
        if user := self._find(_digest_of(token[:LONGEST_TOKEN])):
            return user
        raise _refused("the token is not known: expected one that `lstm-sweep token add` has made")

    def _find(self, digest: str) -> User | None:
        """Whose token has this hash, if anybody's; all are compared, so it takes as long."""
        own = [row for row in self._rows() if hmac.compare_digest(digest, row.digest)]
        return User(own[0].name, own[0].role) if own else None

    def _rows(self) -> tuple[TokenRow, ...]:
        """The tokens; if they cannot be read nobody is let in, and only the log says why."""
        try:
            return self.tokens.rows()
        except InputError as error:
            self._logs.error("tokens", str(error))
            said = "the tokens of the service cannot be read: its log says why"
            raise ProblemError(503, said) from None

    def _name_in(self, headers: Headers) -> str:
        """The name that the proxy gives, not one of several; empty if it gives none."""
        header = self._settings.user_header
        names = [name for name in headers.getlist(header) if name] if header else []
        if len(names) > 1:
            raise ProblemError(
                403,
                f"the header {header} comes {len(names)} times: expected it once, from the proxy",
            )
        if names and not USER_NAME.fullmatch(names[0]):
            raise ProblemError(
                403,
                f"the proxy names the user {shown(names[0])}: expected up to 100 letters, digits, "
                f"'.', '_', '@', '+' and '-'",
            )
        return names[0] if names else ""


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


def parse_proxies(given: Iterable[str]) -> tuple[Network, ...]:
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
    name = name.lower()
    if not re.fullmatch("[a-z][a-z0-9-]{0,99}", name) or NO_NAMES.fullmatch(name):
        raise InputError(
            f"--user-header is {shown(name)}: expected the name of a header that the proxy sets, "
            f"such as Remote-User"
        )
    return name


def cookie_of(headers: Mapping[str, str]) -> str:
    """The text of a session in the cookie of a request; empty if there is none."""
    return cookie_parser(headers.get("cookie", "")).get(COOKIE, "")


def _refused(why: str) -> ProblemError:
    return ProblemError(401, why, headers={"WWW-Authenticate": 'Bearer realm="lstm-sweep"'})


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
