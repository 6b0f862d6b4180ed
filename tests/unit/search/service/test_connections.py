"""Connections that send or read nothing, as seen by a clock, and before a server that listens."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from lstm_sweep.search.service import connections as module
from lstm_sweep.search.service.connections import (
    HEAD_S,
    MOST_CONNECTIONS,
    READ_BYTES,
    READ_S,
    Connections,
    connections_for,
    quiet_accept_errors,
)
from lstm_sweep.search.service.logs import Seldom
from tests.service_app import API, Place


@dataclass(eq=False)
class Scripted:
    """A connection in a state that a test has set."""

    last: object | None = None
    asked: bool = False
    waiting: int = 0
    ended: bool = False

    def request(self) -> object | None:
        return self.last

    def is_asked(self) -> bool:
        return self.asked

    def unread(self) -> int:
        return self.waiting

    def abort(self) -> None:
        self.ended = True


class Clocked:
    """Connections that are looked at each second."""

    def __init__(self, most: int = 100) -> None:
        self.now = 0.0
        self.all = Connections(most, lambda: self.now)

    def made(self, one: Scripted | None = None) -> Scripted:
        one = one or Scripted()
        self.all.enter(one)
        return one

    def after(self, seconds: float, each: Callable[[], None] = lambda: None) -> None:
        for _ in range(int(seconds)):
            self.now += 1
            each()
            self.all.look()


def test_a_head_has_so_long_to_come_from_the_connection_or_the_last_answer_on() -> None:
    clock = Clocked()
    silent, asks = clock.made(), clock.made()
    clock.after(HEAD_S - 1)
    asks.asked, asks.last = True, object()
    clock.after(1)
    assert (silent.ended, asks.ended) == (True, False)
    clock.after(1000)  # however long an answer takes, as events do
    asks.asked = False
    clock.after(HEAD_S)
    assert not asks.ended
    clock.after(1)
    assert asks.ended and len(clock.all) == 0


def test_a_connection_that_asks_again_and_again_is_kept() -> None:
    clock = Clocked()
    one = clock.made()

    def ask() -> None:
        one.last = object()  # it was answered before the look

    clock.after(10 * HEAD_S, ask)
    assert not one.ended


def test_an_answer_has_to_be_read_at_a_pace() -> None:
    clock = Clocked()
    stuck = clock.made(Scripted(asked=True, waiting=10 * READ_BYTES))
    slow = clock.made(Scripted(asked=True, waiting=10 * READ_BYTES))
    streaming = clock.made(Scripted(asked=True, waiting=READ_BYTES))
    rest = clock.made(Scripted(waiting=100))  # the answer has ended, and its last part is unread
    for _ in range(3):
        clock.after(READ_S - 2)
        slow.waiting -= READ_BYTES
        clock.all.has_read(streaming)
        clock.after(1)
    assert [one.ended for one in (stuck, slow, streaming, rest)] == [True, False, False, True]


def test_the_one_that_waits_longest_makes_room() -> None:
    clock = Clocked(most=3)
    asked, first, second = clock.made(Scripted(asked=True)), clock.made(), clock.made()
    third = clock.made()
    assert [one.ended for one in (asked, first, second, third)] == [False, True, False, False]
    second.asked = third.asked = True
    last = clock.made()
    assert last.ended and not asked.ended and len(clock.all) == 3


def test_there_are_as_many_as_descriptors_allow() -> None:
    assert connections_for(1 << 20) == MOST_CONNECTIONS
    assert 256 < connections_for(1024) < 512
    assert connections_for(64) > 0


def test_the_limit_of_descriptors_is_raised() -> None:
    code = """
import resource
from lstm_sweep.search.service.connections import raise_open_files
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
print(raise_open_files() == resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 64)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_that_nothing_can_be_accepted_is_logged_seldom(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.new_event_loop()
    quiet_accept_errors(loop, Seldom())
    failed = {"message": "socket.accept() out of system resource", "exception": OSError(24, "full")}
    with caplog.at_level(logging.ERROR):
        for _ in range(1000):
            loop.call_exception_handler(failed)
        loop.call_exception_handler({"message": "something else"})
    loop.close()
    said = [record.getMessage() for record in caplog.records]
    assert said == ["no connection can be accepted: [Errno 24] full", "something else"]


@pytest.fixture
def served(
    workplace: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], socket.socket]]:
    """Connects to a server that listens, with times that a test waits for and room for 50."""
    monkeypatch.setattr(module, "HEAD_S", 0.5)
    monkeypatch.setattr(module, "READ_S", 1.0)
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.05)
    place = Place.in_folder(workplace("held"))
    with place.served(Connections(50)) as url:
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


def is_well(one: socket.socket) -> bool:
    """Whether the server answers."""
    one.sendall(HEALTH)
    answer = b""
    while not answer.endswith(b"}"):
        part = one.recv(65_536)
        assert part, answer
        answer += part
    return answer.startswith(b"HTTP/1.1 200")


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


def test_hundreds_of_silent_connections_stop_nobody(served: Callable[[], socket.socket]) -> None:
    for _ in range(200):
        served()
    for _ in range(5):
        one = served()
        assert is_well(one)
    kept = served()
    for _ in range(20):  # longer than a head may take
        assert is_well(kept)
        time.sleep(0.05)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 300  # or the test shows little


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
