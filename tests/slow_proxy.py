"""A server between the program and another one that lets each request wait, as one under load."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass
class Proxy:
    """A proxy that answers many requests at a time."""

    address: str
    #: seconds after which it hands on a request; they may change while it runs
    delay_s: float = 0.0


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
                far = socket.create_connection((there.hostname, there.port))
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
    with contextlib.suppress(OSError), source, to:
        while data := source.recv(1 << 16):
            if proxy is None:
                answered.set()
            elif answered.is_set():
                answered.clear()
                time.sleep(proxy.delay_s)
            to.sendall(data)
