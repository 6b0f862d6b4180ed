"""What each request passes, and what is noted of it."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import math
import os
import secrets
import threading
import time
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from lstm_sweep.models.documents import json_text
from lstm_sweep.models.errors import cut, shown
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.service.answers import ProblemError, refusal
from lstm_sweep.search.service.auth import User, resolve_forwarded
from lstm_sweep.search.service.logs import Seldom, rotate
from lstm_sweep.search.service.pages import LOGIN, refused
from lstm_sweep.search.service.settings import API, Limits
from lstm_sweep.search.service.site import Site

READING = ("GET", "HEAD", "OPTIONS")
REFUSED = (401, 403, 429)
#: what is answered without a login, beside what is below /static/
OPEN = {f"{API}/health", f"{API}/ready", f"{API}/openapi.json", LOGIN, "/logout"}
#: beginnings of paths whose bodies are corpora, and bytes that these have beside their files
UPLOADS, TAR_BYTES = (f"{API}/corpora/", "/launch"), 256 << 20
#: of each answer: nothing is loaded from elsewhere, framed, guessed or kept by proxies
SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Guard:
    """Lets a request through to the app if it may be; the middleware around it."""

    def __init__(self, app: ASGIApp, *, site: Site) -> None:
        self._app, self._site, self._settings = app, site, site.settings
        self._audit, self._logs = Audit(site.settings.folder), Seldom()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, sending = time.monotonic(), _Sending(send)
        state = scope.setdefault("state", {})
        state["user"], mark = None, ""
        state["by_proxy"] = resolve_forwarded(scope, self._settings.proxies)
        try:
            state["user"] = self._user_of(scope)
            mark = self._begin(scope)
            await self._app(scope, _bounded(scope, receive, self._settings.limits), sending)
        except Exception as error:
            await self._on_error(error, sending, scope, receive)
        took_s = time.monotonic() - began
        self._site.metrics.note(scope["method"], _route_of(scope), sending.status, took_s)
        self._note(scope, sending, mark)

    def _user_of(self, scope: Scope) -> User | None:
        """Who sends a request that is not refused; None if it needs no login."""
        headers, changes = Headers(scope=scope), scope["method"] not in READING
        _check_host(headers, self._settings.names)
        if changes:
            _check_origin(headers)
        if _is_open(scope["path"]):
            return None
        user = self._site.login.user_of(headers, by_proxy=scope["state"]["by_proxy"])
        if changes and not user.may_run:
            raise ProblemError(
                403, f"'{user.name}' may read: expected a token with the role run for changes"
            )
        return user

    async def _on_error(
        self, error: Exception, sending: _Sending, scope: Scope, receive: Receive
    ) -> None:
        problem = refusal(error, scope)
        if problem.status == 500 or sending.status:
            key = f"{_route_of(scope)} {type(error).__name__}"
            said = "".join(traceback.format_exception(error))
            self._logs.error(key, without_secrets(said))
        if sending.status:
            raise ConnectionError("an answer has broken off")  # so that it is not taken as whole
        accepts = Headers(scope=scope).get("accept", "")
        answer = refused(problem, scope["path"], accepts, self._site.names.named)
        await answer(scope, receive, sending)

    def _begin(self, scope: Scope) -> str:
        if scope["state"]["user"] is None or scope["method"] in READING:
            return ""
        mark = secrets.token_hex(8)
        try:
            self._audit.note(scope, None, id=mark)
        except OSError as error:
            self._logs.error("audit", f"{self._audit.file}: {error.strerror}, changes are refused")
            raise ProblemError(
                507,
                f"the change cannot be noted ({error.strerror}), so it is not made: expected room "
                f"on the disk of the service",
            ) from None
        return mark

    def _note(self, scope: Scope, sending: _Sending, mark: str) -> None:
        state, status, headers = scope["state"], sending.status, sending.headers
        logs_in = scope["method"] not in READING and _is_open(scope["path"])
        is_kept = headers.get("content-disposition", "").startswith("attachment") and status < 300
        try:
            if mark or (state["user"] and (logs_in or is_kept)):
                made, details = headers.get("location"), state.get("details")
                self._audit.note(scope, status, id=mark, made=made, details=details)
            elif status in REFUSED:
                self._audit.note(scope, status, refused=True)
        except OSError as error:
            self._logs.error("audit", f"{self._audit.file}: {error.strerror}, it is not noted")


class _Sending:
    """Sends an answer with the headers of all answers, and remembers how it has begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        #: 0 until the answer has begun
        self.status, self.headers = 0, MutableHeaders()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], MutableHeaders(scope=message)
            for name, value in SECURITY.items():
                self.headers.setdefault(name, value)
            self.headers.setdefault("Cache-Control", "no-store")  # unless it says otherwise
        await self._send(message)


def _bounded(scope: Scope, receive: Receive, limits: Limits) -> Receive:
    """`receive` that refuses a body that is too large or pauses for too long.

    Without a login, all of it has as long as a pause may take.
    """
    most, until = limits.request_bytes, math.inf
    if scope["state"]["user"] is None:
        most, until = limits.anonymous_bytes, time.monotonic() + limits.silence_s
    elif scope["path"].startswith(UPLOADS):
        most = limits.corpus_bytes + TAR_BYTES
    announced = Headers(scope=scope).get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > most:
        raise HTTPException(413)
    came, is_whole = 0, False

    async def counted() -> Message:
        nonlocal came, is_whole
        if is_whole:  # only whether the client goes away is still to be told
            return await receive()
        try:
            left_s = max(0.0, min(limits.silence_s, until - time.monotonic()))
            message = await asyncio.wait_for(receive(), left_s)
        except TimeoutError:
            since = "within" if until < math.inf else "and no more for"
            said = f"{came} bytes have come, {since} {limits.silence_s:g} s, expected all"
            raise HTTPException(408, said) from None
        came += len(message.get("body", b""))
        is_whole = not message.get("more_body", False)
        if came > most:
            raise HTTPException(413)
        return message

    return counted


def _is_open(path: str) -> bool:
    return path in OPEN or path.startswith("/static/")


def _route_of(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", "other")


def _check_host(headers: Mapping[str, str], names: tuple[str, ...]) -> None:
    """Refuse a name that is not this service's: a browser may have been led here by it."""
    host = headers.get("host", "").strip().lower()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.rpartition(":")[0]
    if host in ("localhost", *names):
        return
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise ProblemError(
            421,
            f"the request is for the host {shown(host)}: expected the name of this service, "
            f"to which allowed_hosts in mlflow.yaml adds others",
        ) from None


def _check_origin(headers: Mapping[str, str]) -> None:
    """Refuse a change that a page of another site makes a browser ask for.

    Programs send neither of the two headers; browsers send one, and no page can change it.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None and site not in ("same-origin", "none"):
        raise ProblemError(403, f"the request comes from a page of another site ({shown(site)})")
    if origin is not None and not _is_own(origin, headers.get("host", "")):
        raise ProblemError(
            403, f"the request comes from {shown(origin)}: expected a page of this service"
        )
    if site is None and origin is None and "cookie" in headers:
        raise ProblemError(
            403, "the request has a cookie but no Origin: expected a browser's, or a token"
        )


def _is_own(origin: str, host: str) -> bool:
    """Whether an origin is this service's; behind a proxy it may be https."""
    usual = {"http": 80, "https": 443}
    try:
        place, own = urlsplit(origin), urlsplit(f"//{host}")
        default = usual.get(place.scheme)
        same_port = (place.port or default) == (own.port or default)
    except ValueError:
        return False
    return bool(default and place.hostname) and place.hostname == own.hostname and same_port


#: files with the lists of changes and of refusals, and characters of a request in them
FILE, REFUSALS = "audit.jsonl", "refusals.jsonl"
LONGEST_WHAT = 400


class Audit:
    """Lists of changes, logins and downloads, and of refusals: a JSON document a line.

    A change has two lines: one before it is made, so that none is made that cannot be noted, and
    one that says what came of it. Refusals push out nothing else. Methods raise `OSError`.
    """

    def __init__(self, folder: Path) -> None:
        self.file, self.refusals = folder / FILE, folder / REFUSALS
        self._lock = threading.Lock()

    def note(
        self, scope: Scope, status: int | None, *, refused: bool = False, **more: object
    ) -> None:
        """Note a request, and what came of it; `status` is None until there is an answer."""
        user, client = scope["state"]["user"], scope.get("client")
        file = self.refusals if refused else self.file
        line: dict[str, Any] = {
            "when": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "who": user.name if user else None,
            "role": str(user.role) if user else None,
            "from": str(client[0]) if client else "unknown",
            "what": cut(without_secrets(f"{scope['method']} {scope['path']}"), LONGEST_WHAT),
            "status": status,
            **{key: value for key, value in more.items() if value},
        }
        written = f"{json_text(line)}\n".encode("utf-8", "backslashreplace")
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        with self._lock:
            rotate(file)
            number = os.open(file, flags, 0o600)
            try:
                if os.write(number, written) < len(written):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(number)


#: connections at once, beyond which requests are answered by 503
MOST_CONNECTIONS = 700
#: seconds within which the head of a request has to come; and within twice as many, at most, after
#: an answer
HEAD_S = 10.0
#: looks in a row, one each `HEAD_S`, at which a client has taken nothing of its answer, at most
MOST_UNREAD = 6


class _Connection(H11Protocol):
    """A connection that is ended unless it asks for something, and takes what it is answered."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        #: what was answered at the last look; an answer that is not whole is none
        self._answered: RequestResponseCycle | None = None
        self._taken, self._left, self._unread = 0, 0, 0
        self.loop.call_later(HEAD_S, self._look)

    def resume_writing(self) -> None:
        self._taken += 1
        super().resume_writing()

    def _look(self) -> None:
        if self.transport.is_closing():
            return
        asks = self.cycle is not None and not self.cycle.response_complete
        left = self.transport.get_write_buffer_size()
        takes = self._taken or left < self._left or not left
        self._unread = 0 if takes else self._unread + 1
        if (self.cycle is self._answered and not asks) or self._unread > MOST_UNREAD:
            self.transport.abort()
            return
        self._answered, self._taken, self._left = None if asks else self.cycle, 0, left
        self.loop.call_later(HEAD_S, self._look)


#: options of `uvicorn.Config`
SERVER: dict[str, Any] = {"http": _Connection, "ws": "none", "limit_concurrency": MOST_CONNECTIONS}
