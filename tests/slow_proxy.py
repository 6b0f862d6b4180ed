"""A server between the program and another one: it lets each request wait, or goes away."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Proxy:
    """A proxy that answers many requests at a time."""

    address: str
    #: seconds after which it hands on a request; they may change while it runs
    delay_s: float = 0.0
    #: whether it is away: nobody can connect
    is_away: bool = False
    open_sockets: list[socket.socket] = field(default_factory=list)

    def go_away(self) -> None:
        """Reset all connections at once, and those that follow."""
        self.is_away = True
        while self.open_sockets:
            _reset(self.open_sockets.pop())

    def come_back(self) -> None:
        """Take connections again, at the same address."""
        self.is_away = False


def _reset(one: socket.socket) -> None:
    """Close a connection as a process does that is killed."""
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextlib.contextmanager
def proxy_of(address: str) -> Iterator[Proxy]:
    """A proxy of the server at an address."""
    there = urlsplit(address)
    assert there.hostname and there.port
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    proxy = Proxy(f"http://127.0.0.1:{listener.getsockname()[1]}")
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            with contextlib.suppress(OSError):
                near, _ = listener.accept()
                if proxy.is_away:
                    _reset(near)
                    continue
                far = socket.create_connection((there.hostname, there.port))
                proxy.open_sockets += [near, far]
                if proxy.is_away:  # since `far` was asked for
                    proxy.go_away()
                answered = threading.Event()
                answered.set()
                _start(_pump, near, far, answered, proxy)
                _start(_pump, far, near, answered, None)

    _start(serve)
    try:
        yield proxy
    finally:
        ended.set()
        listener.close()


def _start(call: object, *arguments: object) -> None:
    threading.Thread(target=call, args=arguments, daemon=True).start()  # type: ignore[arg-type]


def _pump(
    source: socket.socket, to: socket.socket, answered: threading.Event, proxy: Proxy | None
) -> None:
    """Hand on what comes; with a `proxy`, wait before what follows an answer: a request."""
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            if proxy is None:
                answered.set()
            elif answered.is_set():
                answered.clear()
                time.sleep(proxy.delay_s)
            to.sendall(data)
    # a socket that is only closed stays connected as long as the other thread waits for its data
    for one in (source, to):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
    source.close()
    to.close()
