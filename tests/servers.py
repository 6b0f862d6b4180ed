"""Real MLflow tracking servers that tests start: the one of `ui`, and a lean one to be killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.conftest import start_program
from tests.launcher import Started

#: hold the ports of this run's servers: only who sets SO_REUSEADDR, as servers do, can listen there
_held = list[socket.socket]()


def free_port() -> int:
    """A port that the system gives to nobody else until the tests end, also between two servers."""
    _held.append(socket.socket())
    _held[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _held[-1].bind(("127.0.0.1", 0))
    return int(_held[-1].getsockname()[1])


def wait_for_answer(
    url: str, process: subprocess.Popen[Any], log: Path | None = None, within_s: float = 120
) -> None:
    """Wait until a server answers, be it that it wants a login; it must not end before."""
    until = time.monotonic() + within_s
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 401:
                return
        except OSError:
            pass
        said = log.read_text()[-3000:] if log else ""
        assert process.poll() is None and time.monotonic() < until, said
        time.sleep(0.3)


@contextlib.contextmanager
def served(folder: Path, *options: str, **environment: str) -> Iterator[str]:
    """The server that `ui` starts in a folder; its address on this machine."""
    port = free_port()
    given = ("ui", "--json", "--port", str(port), *options)
    process = start_program(*given, cwd=folder, **environment)
    assert process.stdout.readline(), process.stderr.read()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 0


@contextlib.contextmanager
def serving(
    folder: Path, *options: str, **environment: str
) -> Iterator[tuple[dict[str, Any], Started]]:
    """The service that `serve` starts in a folder: what it says first, and its process."""
    process = start_program("serve", "--json", *options, cwd=folder, **environment)
    told = process.stdout.readline()
    assert told, process.stderr.read()
    try:
        yield json.loads(told), process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, process.stderr.read()


class Server:
    """A lean server on the store of a folder; it keeps its port when it is started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.address = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, within_s: float = 120) -> str:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "mlflow", "server", "--workers", "1"),
                *("--backend-store-uri", f"sqlite:///{self._folder / 'mlflow.db'}"),
                *("--artifacts-destination", str(self._folder / "artifacts")),
                *("--port", str(self._port)),
            ],
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for_answer(f"{self.address}/health", self._process, within_s=within_s)
        return self.address

    def kill(self) -> None:
        """Kill it and its workers at once."""
        assert self._process
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(20)

    def stop(self) -> None:
        """Let it end."""
        if self._process and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(20)


# A server between the program and another one: it lets each request wait, or goes away


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
