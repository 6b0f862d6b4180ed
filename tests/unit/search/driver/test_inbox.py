"""Events that are kept, and interrupts that are obeyed, while the store does not answer."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence

import pytest

from lstm_sweep.search.driver.inbox import LOOK_S, Hearing, Inbox
from lstm_sweep.search.driver.observer import Silent, Viewer
from lstm_sweep.search.engines.base import Event, SlotAdded, SlotLost
from lstm_sweep.search.process.signals import Interrupted, Shield
from lstm_sweep.search.store.base import make
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.values.trial import Ended, Message, Outcome, Progressed, RoundDone, Slot
from tests.fakes import ScriptedEngine

A, B, C = Slot(0), Slot(1), Slot(2)
ENDED = Ended(Outcome.COMPLETE)


def round_done(number: int) -> RoundDone:
    return RoundDone(number, {})


def test_rounds_are_decided_on_and_ends_are_kept_with_what_comes_after_them() -> None:
    decided: list[tuple[Slot, Event]] = []
    hearing = Hearing(lambda slot, event: decided.append((slot, event)), {A, B}.__contains__)
    lost = SlotLost("gone")
    heard: list[tuple[Slot, Event]] = [
        (A, round_done(1)), (B, Progressed(1, 0.5, 2.0)), (A, ENDED), (A, round_done(2)),
    ]  # fmt: skip
    hearing.meanwhile(heard)
    hearing.meanwhile([(A, lost), (A, round_done(3))])
    assert decided == [(A, round_done(1)), (B, Progressed(1, 0.5, 2.0))]
    assert hearing.kept == {A: [ENDED, round_done(2), lost, round_done(3)]}
    assert hearing.waits and not hearing.next()


def test_slots_do_not_change_while_a_request_is_under_way() -> None:
    decided: list[tuple[Slot, Event]] = []
    hearing = Hearing(lambda slot, event: decided.append((slot, event)), {B}.__contains__)
    lost, added = SlotLost("gone"), SlotAdded()
    hearing.meanwhile([(A, lost), (B, lost), (C, round_done(1))])
    hearing.meanwhile([(A, added), (B, added), (C, round_done(2))])
    assert decided == [(C, round_done(1)), (C, round_done(2))]
    assert hearing.is_changing(A) and hearing.is_changing(B) and not hearing.is_changing(C)
    assert hearing.waits and hearing.kept == {}
    while hearing.next():
        pass
    assert decided[2:] == [(A, lost), (A, added)]  # nothing was on it
    assert hearing.kept == {B: [lost, added]}
    assert not hearing.is_changing(A) and hearing.waits


def test_events_that_come_while_one_is_decided_on_do_not_overtake_those_that_wait() -> None:
    """What decides makes requests between two events, during which there may be others."""
    decided: list[Event] = []
    hearing = Hearing(lambda slot, event: decided.append(event), {A}.__contains__)
    hearing.add([(A, round_done(1)), (A, round_done(2))])
    assert hearing.next()
    hearing.meanwhile([(A, round_done(3))])
    assert decided == [round_done(1), round_done(2), round_done(3)]


LOST = Ended(Outcome.LOST)


class Talking(ScriptedEngine):
    """An engine with an event at each call of `wait`, which also calls `do`."""

    def __init__(self, do: Callable[[], None] = lambda: None) -> None:
        super().__init__({})
        self._do = do
        self.calls = 0

    def wait(self, timeout_s: float) -> list[tuple[Slot, Message]]:
        self.calls += 1
        self._do()
        return [(self.slots[0], LOST)]


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def inbox_of(shield: Shield, do: Callable[[], None] = lambda: None) -> Inbox:
    return _inbox_of(Talking(do), shield)


def _inbox_of(engine: Talking, shield: Shield) -> Inbox:
    return Inbox(engine, shield, Viewer(Silent()), "here")


def test_who_wants_an_end_does_not_wait_for_the_store() -> None:
    shield = Shield()
    with pytest.raises(Interrupted), shield.up(), shield.hold():
        inbox_of(shield, terminate).wait_for_store("nobody there", 600)


def test_who_wants_an_end_while_it_comes_does_not_wait_for_the_store() -> None:
    shield, said = Shield(), "store here does not answer: nobody there"
    with pytest.raises(StoreError, match=said), shield.up(), shield.hold(to_the_end=True):
        inbox_of(shield, terminate).wait_for_store("nobody there", 600)


def test_events_are_heard_while_a_request_is_under_way_and_not_once_an_end_is_wanted() -> None:
    shield, store, heard = Shield(), MemoryStore(), threading.Event()
    inbox, said = inbox_of(shield), list[Event]()

    def hear(events: Sequence[tuple[Slot, Event]]) -> None:
        said.extend(event for _, event in events)
        heard.set()

    with inbox.receiving_while_waiting(store), inbox.hearing_meanwhile(hear):
        assert store.make_request(lambda: heard.wait(60)) is True
        assert set(said) == {LOST}
        before = len(said)
        with contextlib.suppress(Interrupted), shield.up(), shield.hold():
            terminate()
            assert store.make_request(lambda: time.sleep(3 * LOOK_S)) is None
            assert len(said) == before
    assert store.make_request is make
