"""Writes are made in order, once each, whatever fails between them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace

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


def writer_of(interrupts: Interrupts | None = None, told: list[str] | None = None) -> Writer:
    said = [] if told is None else told
    return Writer(MemoryStore(), interrupts or Interrupts(), said.append)


def failing(errors: list[Exception], do: Callable[[], None]) -> Callable[[], None]:
    """A write that fails so, one after the other, before it succeeds."""

    def write() -> None:
        if errors:
            raise errors.pop(0)
        do()

    return write


@given(st.lists(st.lists(st.sampled_from([AWAY, StoreError("full")]), max_size=3), max_size=6))
def test_each_is_made_once_in_order_whatever_fails(failures: list[list[Exception]]) -> None:
    writes, made = writer_of(), list[int]()
    for number, errors in enumerate(failures):
        writes.put(failing([*errors], lambda number=number: made.append(number)))  # type: ignore[misc]
    for _ in range(1 + sum(map(len, failures))):
        try:
            writes.drain()
        except NoAnswerError:
            pytest.fail("it waits for a store that does not answer")
        except StoreError:
            writes.again()
    writes.close()
    assert made == [*range(len(failures))]


def test_what_is_refused_can_be_left_out_and_nothing_else() -> None:
    writes, made = writer_of(), list[str]()
    writes.put(failing([ValueError("no"), ValueError("no")], lambda: made.append("refused")))
    writes.put(lambda: made.append("next"))
    with pytest.raises(ValueError):
        writes.drain()
    with pytest.raises(ValueError):
        writes.look()
    writes.again()
    with pytest.raises(ValueError):
        writes.drain()
    writes.again(without_first=True)
    writes.drain()
    writes.again(without_first=True)  # none has failed
    writes.close()
    assert made == ["next"]


def test_what_is_asked_for_comes_after_all_that_was_put_and_its_error_is_its_own() -> None:
    told, made = list[str](), list[str]()
    writes = writer_of(told=told)
    writes.put(failing([AWAY, AWAY], lambda: made.append("put")))
    assert writes.ask(lambda: [*made, "asked"]) == ["put", "asked"]
    assert told == 2 * ["the store does not answer, waiting: nobody there"]

    def refuse() -> None:
        raise StoreError("full")

    with pytest.raises(StoreError, match="full"):
        writes.ask(refuse)
    writes.drain()
    writes.close()


def test_what_is_regular_is_written_also_while_a_write_takes_long_and_not_after_its_end() -> None:
    writes, beats, enough = writer_of(), list[int](), threading.Event()

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
    writes.close()
    assert len(beats) == known


def test_it_is_behind_while_the_store_does_not_answer_or_too_much_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    writes, back, go = writer_of(), threading.Event(), threading.Event()

    def write() -> None:
        if not back.is_set():
            raise AWAY

    writes.put(write)
    until = time.monotonic() + 60
    while not writes.is_behind and time.monotonic() < until:
        time.sleep(0.001)
    assert writes.is_behind
    back.set()
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
    writes.close()


@pytest.mark.parametrize("ending", [False, True])
def test_a_store_that_is_away_is_not_waited_for_once_an_end_is_wanted(
    monkeypatch: pytest.MonkeyPatch, ending: bool
) -> None:
    monkeypatch.setattr(writer, "GIVE_UP_S", 0.05)
    request = Interrupts()
    writes = writer_of(request)
    writes.put(failing([AWAY] * 100_000, lambda: None))
    request.request()
    expected = StoreError if ending else Interrupted
    with request.hold(to_the_end=ending), pytest.raises(expected):
        writes.drain()
    writes.close()


def test_what_is_regular_may_begin_and_end_at_any_moment() -> None:
    writes, made, count = writer_of(), list[str](), 0
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        writes.regularly(lambda: made.append("regular"), 0.0)
        writes.look()
        writes.regularly(None)
        count = len(made)
    writes.put(lambda: made.append("last"))
    writes.drain()
    writes.close()
    assert made[count:] == ["last"]


def test_what_waits_is_not_written_once_what_is_regular_is_refused_again() -> None:
    writes, made = writer_of(), list[str]()

    def refuse() -> None:
        time.sleep(0.02)
        raise StoreError("lost")

    writes.regularly(refuse, 0.01)
    until = time.monotonic() + 60
    while not writes.fault and time.monotonic() < until:
        with contextlib.suppress(StoreError):
            writes.look()
    writes.put(lambda: made.append("never"))
    writes.again()
    with pytest.raises(StoreError, match="lost"):
        writes.drain()
    writes.close()
    assert made == []


def test_what_is_regular_holds_nothing_up_that_fails_for_a_reason_of_its_own() -> None:
    writes, made = writer_of(), list[int]()

    def fail() -> None:
        raise ValueError("the run was deleted")

    writes.regularly(fail, 0.05)
    until = time.monotonic() + 60
    while not writes.fault and time.monotonic() < until:
        with contextlib.suppress(ValueError):
            writes.look()
    writes.regularly(fail, 60.0)
    writes._due = 0.0
    writes.put(lambda: made.append(1))
    for _ in range(3):
        with contextlib.suppress(ValueError):
            writes.again(without_first=True)
            writes.drain()
    writes.close()
    assert made == [1]


def test_a_server_is_written_to_side_by_side_where_that_may_be_and_all_else_in_order() -> None:
    writes, made, together = writer_of(), list[str](), threading.Barrier(AT_ONCE)
    writes.store.settings = replace(writes.store.settings, tracking_uri="http://host")

    def meet() -> None:
        together.wait(60)
        made.append("met")

    go = threading.Event()
    writes.put(lambda: go.wait(60))
    for number in range(AT_ONCE):
        errors: list[Exception] = [AWAY] if number == 2 else []
        writes.put(failing(errors, lambda: made.append("met")), beside=True)
    writes.put(lambda: made.append("next"))
    for _ in range(AT_ONCE):
        writes.put(meet, beside=True)
    go.set()
    writes.drain()
    writes.close()
    assert made == [*["met"] * AT_ONCE, "next", *["met"] * AT_ONCE]


def test_no_thread_stays_once_all_is_written() -> None:
    for _ in range(50):
        writes = writer_of()
        writes.put(lambda: None)
        writes.drain()
        writes.close()
        assert not any(thread.is_alive() for thread in writes._threads)
