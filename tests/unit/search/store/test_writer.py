"""Writes are made in order, once each, whatever fails between them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.search.process.signals import Interrupted, Interrupts
from lstm_sweep.search.store import writer
from lstm_sweep.search.store.faults import NoAnswerError, StoreError
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.store.writer import AT_ONCE, Writer

AWAY = NoAnswerError("memory", "nobody there")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "FIRST_WAIT_S", 0.001)


class Told(Writer):
    """A writer to memory, what it has told and what its writes have made."""

    def __init__(self) -> None:
        self.told, self.made = list[str](), list[object]()
        super().__init__(MemoryStore(), Interrupts(), self.told.append)

    def put_failing(self, errors: list[Exception], name: object, *, beside: bool = False) -> None:
        """A write that fails so, one after the other, before it succeeds."""

        def write() -> None:
            if errors:
                raise errors.pop(0)
            self.made.append(name)

        self.put(write, beside=beside)


@pytest.fixture
def writes() -> Iterator[Told]:
    with contextlib.closing(Told()) as opened:
        yield opened


@given(st.lists(st.lists(st.sampled_from([AWAY, StoreError("full")]), max_size=3), max_size=6))
def test_each_is_made_once_in_order_whatever_fails(failures: list[list[Exception]]) -> None:
    with contextlib.closing(Told()) as writes:
        for number, errors in enumerate(failures):
            writes.put_failing([*errors], number)
        for _ in range(1 + sum(map(len, failures))):
            try:
                writes.drain()
            except NoAnswerError:
                pytest.fail("it waits for a store that does not answer")
            except StoreError:
                writes.again()
    assert writes.made == [*range(len(failures))]


def test_what_is_refused_can_be_left_out_and_nothing_else(writes: Told) -> None:
    writes.put_failing([ValueError("no"), ValueError("no")], "refused")
    writes.put_failing([], "next")
    for wait in (writes.drain, writes.look):
        with pytest.raises(ValueError):
            wait()
    writes.again()
    with pytest.raises(ValueError):
        writes.drain()
    writes.again(without_first=True)
    writes.drain()
    writes.again(without_first=True)  # none has failed
    assert writes.made == ["next"]


def test_what_is_asked_for_comes_after_all_that_was_put_and_its_error_is_its_own(
    writes: Told,
) -> None:
    writes.put_failing([AWAY, AWAY], "put")
    assert writes.ask(lambda: [*writes.made, "asked"]) == ["put", "asked"]
    assert writes.told == 2 * ["the store does not answer, waiting: nobody there"]
    with pytest.raises(StoreError, match="full"):
        writes.ask(mock.Mock(side_effect=StoreError("full")))
    writes.drain()


def test_what_is_regular_is_written_also_while_a_write_takes_long_and_not_after_its_end(
    writes: Told,
) -> None:
    beats, enough = list[int](), threading.Event()

    def beat() -> None:
        beats.append(1)
        if len(beats) % 3 == 0:
            enough.set()

    writes.regularly(beat, 0.01)
    writes.look()
    assert enough.wait(60), "nothing else is written"
    enough.clear()
    assert writes.ask(lambda: enough.wait(60)), "a large file holds it up"
    writes.ask(lambda: writes.regularly(None))
    known = len(beats)
    time.sleep(0.05)
    assert len(beats) == known


def test_it_is_behind_while_the_store_does_not_answer_or_too_much_waits(
    writes: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    away, go = [AWAY], threading.Event()

    def write() -> None:
        if away:
            raise AWAY

    writes.put(write)
    until = time.monotonic() + 60
    while not writes.is_behind and time.monotonic() < until:
        time.sleep(0.001)
    assert writes.is_behind
    away.clear()
    writes.drain()
    assert not writes.is_behind
    monkeypatch.setattr(writer, "MOST_WAITING", 2)
    for _ in range(3):
        writes.put(lambda: go.wait(60))
    assert writes.is_behind
    go.set()
    writes.breathe(60)
    assert not writes.is_behind
    go.clear()
    writes.put(lambda: go.wait(60))
    assert not writes.is_behind
    monkeypatch.setattr(writer, "MOST_WAITING_S", 0.0)
    assert writes.is_behind, "one waits for too long"
    go.set()
    writes.drain()
    assert not writes.is_behind


@pytest.mark.parametrize("ending", [False, True])
def test_a_store_that_is_away_is_not_waited_for_once_an_end_is_wanted(
    writes: Told, monkeypatch: pytest.MonkeyPatch, ending: bool
) -> None:
    monkeypatch.setattr(writer, "GIVE_UP_S", 0.05)
    writes.put_failing([AWAY] * 100_000, "never")
    writes.interrupts.request()
    expected = StoreError if ending else Interrupted
    with writes.interrupts.hold(to_the_end=ending), pytest.raises(expected):
        writes.drain()


def test_what_is_regular_may_begin_and_end_at_any_moment(writes: Told) -> None:
    count = 0
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        writes.regularly(lambda: writes.made.append("regular"), 0.0)
        writes.look()
        writes.regularly(None)
        count = len(writes.made)
    writes.put_failing([], "last")
    writes.drain()
    assert writes.made[count:] == ["last"]


@pytest.mark.parametrize(
    ("error", "is_of_the_store"),
    [(StoreError("lost"), True), (ValueError("the run was deleted"), False)],
)
def test_what_waits_is_written_though_what_is_regular_fails_if_not_by_the_store(
    writes: Told, error: Exception, is_of_the_store: bool
) -> None:
    fail = mock.Mock(side_effect=error)
    writes.regularly(fail, 0.01)
    until = time.monotonic() + 60
    while not writes.fault and time.monotonic() < until:
        with contextlib.suppress(type(error)):
            writes.look()
    writes.regularly(fail, 60.0)
    writes._due = 0.0
    writes.put_failing([], "waits")
    for _ in range(3):
        with contextlib.suppress(type(error)):
            writes.again(without_first=True)
            writes.drain()
    assert writes.made == ([] if is_of_the_store else ["waits"])


def test_a_server_is_written_to_side_by_side_where_that_may_be_and_all_else_in_order(
    writes: Told,
) -> None:
    together, go = threading.Barrier(AT_ONCE), threading.Event()
    writes.store.settings = replace(writes.store.settings, tracking_uri="http://host")

    def meet() -> None:
        together.wait(60)
        writes.made.append("met")

    writes.put(lambda: go.wait(60))
    for number in range(AT_ONCE):
        writes.put_failing([AWAY] if number == 2 else [], "met", beside=True)
    writes.put_failing([], "next")
    for _ in range(AT_ONCE):
        writes.put(meet, beside=True)
    go.set()
    writes.drain()
    assert writes.made == [*["met"] * AT_ONCE, "next", *["met"] * AT_ONCE]


def test_no_thread_stays_once_all_is_written() -> None:
    for _ in range(50):
        with contextlib.closing(Told()) as writes:
            writes.put_failing([], "put")
            writes.drain()
        assert not any(thread.is_alive() for thread in writes._threads)
