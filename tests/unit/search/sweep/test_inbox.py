"""Events that are kept, and interrupts that are obeyed, while the store does not answer."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence

import pytest

from lstm_sweep.search.engines.base import Event, SlotLost
from lstm_sweep.search.process import signals
from lstm_sweep.search.process.signals import Interrupted, Shield
from lstm_sweep.search.store.base import make
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.sweep.inbox import LOOK_S, Inbox
from lstm_sweep.search.sweep.observer import Silent, Viewer
from lstm_sweep.search.trial import Ended, Message, Outcome, Slot
from tests.fakes import ScriptedEngine

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


def test_events_that_come_meanwhile_are_received_later() -> None:
    engine = Talking()
    inbox = _inbox_of(engine, Shield())
    inbox.wait_for_store("nobody there", 0.3)
    came = engine.calls
    assert len(inbox.receive()) == came >= 1 and engine.calls == came
    assert len(inbox.receive()) == 1


def test_slots_that_were_lost_meanwhile_are_known_until_that_is_received() -> None:
    class Losing(ScriptedEngine):
        def wait(self, timeout_s: float) -> list[tuple[Slot, Event]]:
            return [(self.slots[0], SlotLost("its node has died"))]

    inbox = Inbox(Losing({}), Shield(), Viewer(Silent()), "here")
    slot = Losing.slots[0]
    assert not inbox.is_changing(slot)
    inbox.wait_for_store("nobody there", 0.01)
    assert inbox.is_changing(slot) and not inbox.is_changing(Slot(1))
    inbox.receive()
    assert not inbox.is_changing(slot)


def test_who_wants_an_end_does_not_wait_for_the_store() -> None:
    shield = Shield()
    with pytest.raises(Interrupted), shield.up(), shield.hold():
        inbox_of(shield, terminate).wait_for_store("nobody there", 600)


def test_who_wants_an_end_while_it_comes_does_not_wait_for_the_store() -> None:
    shield, said = Shield(), "store here does not answer: nobody there"
    with pytest.raises(StoreError, match=said), shield.up(), shield.hold(to_the_end=True):
        inbox_of(shield, terminate).wait_for_store("nobody there", 600)


def test_at_the_end_the_store_gets_a_little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "GIVE_UP_S", 0.3)
    shield = Shield()
    with shield.up(), shield.hold(to_the_end=True):
        terminate()
        inbox = inbox_of(shield)
        inbox.wait_for_store("nobody there", 0.1)
        with pytest.raises(StoreError):
            inbox.wait_for_store("nobody there", 0.25)  # its time is over now, and was not before


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


def test_nobody_hears_of_events_once_the_loop_is_over() -> None:
    store, inbox = MemoryStore(), inbox_of(Shield())
    with inbox.receiving_while_waiting(store):
        with inbox.hearing_meanwhile(lambda events: pytest.fail(str(events))):
            pass
        thread = store.make_request(threading.get_ident)
    assert thread == threading.get_ident()
