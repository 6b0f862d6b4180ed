"""Connections of the service: how many there are, and how long one may be held without a request.

uvicorn has no time within which a request has to come, and no bound of connections. Whoever sends
nothing, or reads nothing, needs no login for that.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable
from typing import Any, Protocol

from uvicorn.protocols.http.h11_impl import H11Protocol

from lstm_sweep.search.service.logs import Seldom

#: descriptors that the service asks for, and those that it keeps for files, drivers and the store
MOST_FILES, KEPT_FILES = 65_536, 256
#: connections at once, where descriptors are plenty
MOST_CONNECTIONS = 4_096
#: seconds within which the whole head of a request has to come, from the beginning of the
#: connection or from the end of the answer before it
HEAD_S = 10.0
#: seconds within which a client has to read so much of an answer, or all that is left of it
READ_S, READ_BYTES = 60.0, 64 << 10
#: seconds between two looks at all connections
LOOK_EVERY_S = 1.0
#: bytes of the longest head
HEAD_BYTES = 64 << 10
#: connections that the system keeps until they are accepted, and that are accepted in one go
BACKLOG = 128


class Held(Protocol):
    """A connection, as far as it is bounded."""

    def request(self) -> object | None:
        """The request that came last; None before the first."""

    def is_asked(self) -> bool:
        """Whether a request is being answered."""

    def unread(self) -> int:
        """Bytes of answers that wait for the client to read them."""

    def abort(self) -> None:
        """End it at once."""


class _State:
    """What was seen of a connection at the last look."""

    def __init__(self) -> None:
        #: since when no request is answered, and the last one before that
        self.idle_since: float | None = None
        self.request: object | None = None
        #: when its client has last read enough, and what was unread then
        self.unread_since: float | None = None
        self.unread = 0


class Connections:
    """All connections; those that are held for too long are ended, and there are at most `most`."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._open: dict[Held, _State] = {}

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, new: Held) -> None:
        """Add a connection; if there are too many, the one that has waited longest is ended.

        If a request comes by each of them, the new one is.
        """
        self._open[new] = _State()
        self._open[new].idle_since = self._clock()
        if len(self._open) > self._most:
            idle = (one for one in self._open if not one.is_asked() and not one.unread())
            self._end(next(idle, new))

    def leave(self, one: Held) -> None:
        """Forget a connection that has ended."""
        self._open.pop(one, None)

    def has_read(self, one: Held) -> None:
        """Note that a client has read most of what was sent."""
        if one in self._open:
            self._open[one].unread_since = None

    def look(self) -> None:
        """End connections that are held for too long."""
        now = self._clock()
        for one, state in list(self._open.items()):
            if _is_late(one, state, now):
                self._end(one)

    async def watch(self) -> None:
        """Look at all of them for ever."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.look()

    def _end(self, one: Held) -> None:
        self.leave(one)
        one.abort()


def _is_late(one: Held, state: _State, now: float) -> bool:
    """Whether a connection has to end; its state is brought up to date."""
    unread = one.unread()
    if not unread:
        state.unread_since = None
    elif state.unread_since is None:
        state.unread_since, state.unread = now, unread
    elif now - state.unread_since >= READ_S:
        if state.unread - unread < READ_BYTES:
            return True
        state.unread_since, state.unread = now, unread
    if unread or one.is_asked():
        state.idle_since = None
        return False
    if state.idle_since is None or one.request() is not state.request:
        state.idle_since, state.request = now, one.request()
    return now - state.idle_since >= HEAD_S


def limited_protocol(connections: Connections) -> type[H11Protocol]:
    """Uvicorn's HTTP/1.1 with connections that are bounded."""

    class LimitedProtocol(H11Protocol):
        """A connection that `connections` knows."""

        def connection_made(self, transport: Any) -> None:
            """Take its place among all of them."""
            super().connection_made(transport)
            connections.enter(self)

        def connection_lost(self, exc: Exception | None) -> None:
            """Leave them."""
            connections.leave(self)
            super().connection_lost(exc)

        def resume_writing(self) -> None:
            """Note that the client reads."""
            connections.has_read(self)
            super().resume_writing()

        def request(self) -> object | None:
            """The request that came last."""
            return self.cycle

        def is_asked(self) -> bool:
            """Whether a request is being answered."""
            return self.cycle is not None and not self.cycle.response_complete

        def unread(self) -> int:
            """Bytes that wait for the client."""
            return self.transport.get_write_buffer_size()

        def abort(self) -> None:
            """End it at once."""
            self.transport.abort()

    return LimitedProtocol


def raise_open_files() -> int:
    """Raise the limit of descriptors as far as is allowed and of use; what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        return most
    return MOST_FILES if soft == resource.RLIM_INFINITY else soft


def connections_for(files: int) -> int:
    """How many connections there may be with so many descriptors."""
    return max(16, min(MOST_CONNECTIONS, (files - KEPT_FILES) // 2))


def quiet_accept_errors(loop: asyncio.AbstractEventLoop, logs: Seldom) -> None:
    """Log at most once a minute that no connection can be accepted; asyncio does so each time."""

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if "socket.accept()" not in context["message"]:
            loop.default_exception_handler(context)
            return
        logs.error("accept", f"no connection can be accepted: {context.get('exception')}")

    loop.set_exception_handler(handle)


def server_options(connections: Connections) -> dict[str, Any]:
    """Options of `uvicorn.Config` for bounded connections."""
    return {
        "http": limited_protocol(connections),
        "ws": "none",
        "backlog": BACKLOG,
        "h11_max_incomplete_event_size": HEAD_BYTES,
    }
