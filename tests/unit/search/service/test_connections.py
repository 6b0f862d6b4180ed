"""Connections that send or read nothing, as seen by a clock, and before a server that listens."""

from __future__ import annotations

import resource
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn
from uvicorn.server import ServerState

from lstm_sweep.search.service import guard as module
from lstm_sweep.search.service.guard import (
    HEAD_S,
    LOOK_EVERY_S,
    MOST_CONNECTIONS,
    READ_BYTES,
    READ_S,
    most_connections,
    server_options,
)
from tests.service_app import API, Place


class Transport:
    """A connection in a state that a test has set."""

    def __init__(self) -> None:
        self.waiting, self.ended = 0, False

    def get_extra_info(self, name: str) -> None:
        """Nothing is known of it."""

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def abort(self) -> None:
        self.ended = True


class Clocked:
    """Connections that look at themselves each second of a clock."""

    def __init__(self, most: int = 100) -> None:
        self.now = 0.0
        self._calls: list[Callable[[], None]] = []
        self._config = uvicorn.Config(lambda scope: None)
        self._make = server_options(most)["http"]

    def time(self) -> float:
        return self.now

    def call_later(self, delay_s: float, call: Callable[[], None]) -> None:
        assert delay_s == LOOK_EVERY_S
        self._calls.append(call)

    def made(self, *, asked: bool = False, waiting: int = 0) -> Any:
        one = self._make(config=self._config, server_state=ServerState(), app_state={}, _loop=self)
        self.ask(one, asked=asked)
        one.connection_made(Transport())
        one.transport.waiting = waiting
        return one

    def ask(self, one: Any, *, asked: bool = True) -> None:
        """Let a request come, which is answered already if it is not `asked`."""
        one.cycle = SimpleNamespace(response_complete=not asked)

    def after(self, seconds: float, each: Callable[[], None] = lambda: None) -> None:
        for _ in range(int(seconds)):
            self.now += 1
            each()
            calls, self._calls = self._calls, []
            for call in calls:
                call()


def ended(*all_made: Any) -> list[bool]:
    return [one.transport.ended for one in all_made]


def test_a_head_has_so_long_to_come_from_the_connection_or_the_last_answer_on() -> None:
    clock = Clocked()
    silent, asks = clock.made(), clock.made()
    clock.after(HEAD_S - 1)
    clock.ask(asks)
    clock.after(1)
    assert ended(silent, asks) == [True, False]
    clock.after(1000)  # however long an answer takes, as events do
    asks.cycle.response_complete = True
    clock.after(HEAD_S)
    assert ended(asks) == [False]
    clock.after(1)
    assert ended(asks) == [True]


def test_a_connection_that_asks_again_and_again_is_kept() -> None:
    clock = Clocked()
    one = clock.made()
    # each is answered before the look
    clock.after(10 * HEAD_S, lambda: clock.ask(one, asked=False))
    assert ended(one) == [False]


def test_an_answer_has_to_be_read_at_a_pace() -> None:
    clock = Clocked()
    stuck, slow = (clock.made(asked=True, waiting=10 * READ_BYTES) for _ in range(2))
    streaming = clock.made(asked=True, waiting=READ_BYTES)
    streaming.flow = SimpleNamespace(resume_writing=lambda: None)
    rest = clock.made(waiting=100)  # the answer has ended, and its last part is unread
    for _ in range(3):
        clock.after(READ_S - 2)
        slow.transport.waiting -= READ_BYTES
        streaming.resume_writing()
        clock.after(1)
    assert ended(stuck, slow, streaming, rest) == [True, False, False, True]


def test_the_one_that_waits_longest_makes_room() -> None:
    clock = Clocked(most=3)
    made = [clock.made(asked=True), clock.made(), clock.made(), clock.made()]
    assert ended(*made) == [False, True, False, False]
    for one in made:
        clock.ask(one)
    assert ended(clock.made(), *made) == [True, False, True, False, False]


def test_there_are_as_many_as_descriptors_allow_whose_limit_is_raised() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        most = most_connections()
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        assert files > 512 and 128 < most <= min(MOST_CONNECTIONS, files // 2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def served(
    workplace: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], socket.socket]]:
    """Connects to a server that listens, with times that a test waits for and room for 50."""
    monkeypatch.setattr(module, "HEAD_S", 0.3)
    monkeypatch.setattr(module, "READ_S", 1.0)
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.05)
    place = Place.in_folder(workplace("held"))
    with place.served(50) as url:
        at = urlsplit(url)
        opened = list[socket.socket]()

        def connect() -> socket.socket:
            made = socket.create_connection((at.hostname, at.port), timeout=30)
            opened.append(made)
            return made

        yield connect
        for one in opened:
            one.close()


def head(path: str, *more: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *more, "", ""]).encode()


HEALTH = head(f"{API}/health")


def is_ended(one: socket.socket) -> bool:
    """Whether the server ends a connection; waits for that."""
    try:
        while one.recv(65_536):
            pass
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        HEALTH + b"GET / HTTP/1.1\r\nHost: a",  # a whole one, and the beginning of a second
        # answered at once, and the body never comes
        head("/none", "Content-Length: 1000").replace(b"GET", b"POST"),
        b"GET / HTTP/1.1\r\nA: " + b"a" * 200_000,  # too long
    ],
)
def test_what_is_no_whole_request_does_not_hold_a_connection(
    served: Callable[[], socket.socket], sent: bytes
) -> None:
    one = served()
    try:
        one.sendall(sent)
    except ConnectionError:
        return
    stop = threading.Event()

    def trickle() -> None:  # of the head or the body that is to come
        while not stop.wait(0.1):
            try:
                one.send(b"a")
            except OSError:
                return

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        assert is_ended(one)
    finally:
        stop.set()
        thread.join()


def test_an_answer_that_nobody_reads_is_ended(served: Callable[[], socket.socket]) -> None:
    one = served()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    asked = head(f"{API}/openapi.json") * 500  # more than buffers of the system take
    try:
        one.settimeout(60)
        while True:
            one.sendall(asked)
    except (ConnectionError, BrokenPipeError):
        pass
    else:
        pytest.fail("it was sent without end")
