"""Connections of the service: how many there are, and how long one may be held without a request.

uvicorn has no time within which a request has to come, and refuses the next connection where too
many are open. Whoever sends nothing, or reads nothing, needs no login for that.
"""

from __future__ import annotations

import resource
from functools import partial
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

#: descriptors that the service asks for, and those that it keeps for files, drivers and the store
MOST_FILES, KEPT_FILES = 65_536, 256
#: connections at once, where descriptors are plenty
MOST_CONNECTIONS = 4_096
#: seconds within which the whole head of a request has to come, from the beginning of the
#: connection or from the end of the answer before it
HEAD_S = 10.0
#: seconds within which a client has to read so much of an answer, or all that is left of it
READ_S, READ_BYTES = 60.0, 64 << 10
#: seconds between two looks at a connection
LOOK_EVERY_S = 1.0
#: bytes of the longest head
HEAD_BYTES = 64 << 10
#: connections that the system keeps until they are accepted, and that are accepted in one go
BACKLOG = 128


class BoundedProtocol(H11Protocol):
    """A connection that has to ask, and to read what it has asked for, or else is ended."""

    def __init__(self, *given: Any, most: int, all_open: dict[BoundedProtocol, None], **more: Any):
        """`all_open` are those that are open, of which there are at most `most`, oldest first."""
        super().__init__(*given, **more)
        self._most, self._open = most, all_open
        #: since when no request is answered, and the last one before that
        self._idle: tuple[float, object] | None = None
        #: when its client has last read enough, and how many bytes were unread then
        self._unread: tuple[float, int] | None = None

    def connection_made(self, transport: Any) -> None:
        """Take its place; if there are too many, the one that has waited longest is ended.

        If a request comes by each of them, this one is.
        """
        super().connection_made(transport)
        self._open[self] = None
        if len(self._open) > self._most:
            idle = (one for one in self._open if not one._is_asked() and not one._left_to_read())
            next(idle, self)._abort()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.pop(self, None)
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        self._unread = None  # most of it was read
        super().resume_writing()

    def _is_asked(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _left_to_read(self) -> int:
        return self.transport.get_write_buffer_size()

    def _abort(self) -> None:
        self._open.pop(self, None)
        self.transport.abort()

    def _look(self) -> None:
        if self not in self._open:
            return
        if self._is_late():
            self._abort()
        else:
            self.loop.call_later(LOOK_EVERY_S, self._look)

    def _is_late(self) -> bool:
        """Whether it is held for too long."""
        now, unread = self.loop.time(), self._left_to_read()
        if not unread:
            self._unread = None
        elif self._unread is None:
            self._unread = now, unread
        elif now - self._unread[0] >= READ_S:
            if self._unread[1] - unread < READ_BYTES:
                return True
            self._unread = now, unread
        if unread or self._is_asked():
            self._idle = None
            return False
        if self._idle is None or self._idle[1] is not self.cycle:
            self._idle = now, self.cycle
        return now - self._idle[0] >= HEAD_S


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


def server_options(most: int) -> dict[str, Any]:
    """Options of `uvicorn.Config` for so many connections, which are bounded."""
    return {
        "http": partial(BoundedProtocol, most=most, all_open={}),
        "ws": "none",
        "backlog": BACKLOG,
        "h11_max_incomplete_event_size": HEAD_BYTES,
    }
