"""Events that are kept, and interrupts that are obeyed, while the store does not answer."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from lstm_sweep.search.process import signals
from lstm_sweep.search.process.signals import Interrupted, Shield
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.sweep.inbox import Inbox
from lstm_sweep.search.sweep.observer import Silent, Viewer
from lstm_sweep.search.trial import Ended, Message, Outcome, Slot
from tests.fakes import ScriptedEngine

LOST = Ended(Outcome.LOST)


class Talking(ScriptedEngine):
    """An engine with an event at each call of `wait`, which also calls `do`."""

    def __init__(self, do: Callable[[], None] = lambda: None) -> None:
        super().__init__({})
        self._do = do

    def wait(self, timeout_s: float) -> list[tuple[Slot, Message]]:
        self._do()
        return [(self.slots[0], LOST)]


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def inbox_of(shield: Shield, do: Callable[[], None] = lambda: None) -> Inbox:
    return Inbox(Talking(do), shield, Viewer(Silent()), "here")


def test_events_that_come_meanwhile_are_received_later() -> None:
    inbox = inbox_of(Shield())
    inbox.wait_for_store("nobody there", 0.3)
    assert len(inbox.receive()) > 1
    assert len(inbox.receive()) == 1


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
