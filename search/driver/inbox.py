"""Receives the messages of trials, also while a request to the store is under way.

While the store does not answer at all, messages are kept.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TypeVar

from lstm_sweep.search.driver.observer import Viewer
from lstm_sweep.search.engines.base import Engine, Event, SlotAdded, SlotLost
from lstm_sweep.search.process import signals
from lstm_sweep.search.process.signals import Interrupted, Interrupts
from lstm_sweep.search.store.base import make
from lstm_sweep.search.store.faults import AGAIN, StoreError
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.values.trial import Ended, Paused, Slot

#: what takes the store's time; what asks for a decision is received before
SLOW = (Ended, Paused)
#: what changes the slots
CHANGES = (SlotAdded, SlotLost)


def is_changing(slot: Slot, events: Iterable[tuple[Slot, Event]]) -> bool:
    """Whether a slot is lost or comes by these events."""
    return any(one == slot and isinstance(event, CHANGES) for one, event in events)


class Hearing:
    """Events of the engine in the order in which they came, as far as they are of one slot.

    It is told of some while a request of the loop is under way. Of those, changes of the slots wait
    until the loop is between two trials. The end of a trial waits until there is time for the
    requests that it takes. What comes later from the same slot waits too.
    """

    def __init__(
        self, receive: Callable[[Slot, Event], None], is_running: Callable[[Slot], bool]
    ) -> None:
        """`receive` decides on an event, and makes no request but for the end of a trial.

        `is_running` says whether a trial is on a slot, which ends if that is lost.
        """
        self._receive, self._is_running = receive, is_running
        self._heard: deque[tuple[Slot, Event]] = deque()
        #: ends of trials by the slot, and what came after them
        self.kept: dict[Slot, list[Event]] = {}

    @property
    def waits(self) -> bool:
        """Whether there are events that were not received."""
        return bool(self._heard or self.kept)

    def is_changing(self, slot: Slot) -> bool:
        """Whether a slot is lost or has come, and nobody has received that."""
        return is_changing(slot, self._heard)

    def add(self, events: Sequence[tuple[Slot, Event]]) -> None:
        """Know more events, for `next`."""
        self._heard.extend(events)

    def next(self) -> bool:
        """Receive the first event, or keep it; False if there is none."""
        if not self._heard:
            return False
        slot, event = self._heard.popleft()
        ends = isinstance(event, SLOW) or (isinstance(event, SlotLost) and self._is_running(slot))
        if slot in self.kept or ends:
            self.kept.setdefault(slot, []).append(event)
        else:
            self._receive(slot, event)
        return True

    def meanwhile(self, events: Sequence[tuple[Slot, Event]]) -> None:
        """Know more events while a request is under way: receive or keep what does not wait."""
        self.add(events)
        waiting: deque[tuple[Slot, Event]] = deque()
        slots = set[Slot]()
        while self._heard:
            slot, event = self._heard[0]
            if slot in slots or (isinstance(event, CHANGES) and slot not in self.kept):
                slots.add(slot)
                waiting.append(self._heard.popleft())
            else:
                self.next()
        self._heard = waiting


Answer = TypeVar("Answer")
#: what is told of events
Hear = Callable[[Sequence[tuple[Slot, Event]]], None]

#: longest wait for an event of the engine, seconds
TICK_S = 0.25
#: seconds between two looks for events while a request is under way
LOOK_S = 0.02


class Inbox:
    """Events of the engine, in order; those that come while the store is away are kept."""

    def __init__(self, engine: Engine, interrupts: Interrupts, viewer: Viewer, store: str) -> None:
        """`store` is the name of the store for people."""
        self._engine, self._interrupts, self._viewer = engine, interrupts, viewer
        self._store = store
        #: events that came while the store did not answer
        self._kept: list[tuple[Slot, Event]] = []
        #: what is told of events that come while a request is under way; None: nobody listens now
        self._hear: Hear | None = None
        #: seconds for which the store was waited for, since `forget_waiting`
        self._waited = 0.0

    @contextmanager
    def receiving_while_waiting(self, store: Store) -> Iterator[None]:
        """Within the context, `store` calls `wait_for_store` while it does not answer.

        Requests have a time limit after an interruption. Those to a server are made aside, for
        `hearing_meanwhile`.
        """
        store.wait_for_answer = self.wait_for_store
        store.make_request = self._make_aside
        store.limit_request = self._interrupts.limit_request
        try:
            yield
        finally:
            store.wait_for_answer, store.limit_request = None, nullcontext
            store.make_request = make

    @contextmanager
    def hearing_meanwhile(self, hear: Hear) -> Iterator[None]:
        """Within the context, `hear` is told of events that come while a server makes one wait.

        It makes no request itself.
        """
        self._hear = hear
        try:
            yield
        finally:
            self._hear = None

    def _make_aside(self, call: Callable[[], Answer]) -> Answer:
        return call_aside(call, self._listen, LOOK_S) if self._hear else call()

    def _listen(self) -> None:
        # once an end is wanted, a signal may give a request up, which must not break off a decision
        if self._hear and not self._interrupts.signal_number:
            self._hear(self.receive(wait=False))

    def receive(self, *, wait: bool = True) -> list[tuple[Slot, Event]]:
        """Events since the last call; if there are none, `wait` up to `TICK_S` seconds."""
        events = self._kept or [*self._engine.wait(TICK_S if wait else 0.0)]
        self._kept = []
        return events

    def is_changing(self, slot: Slot) -> bool:
        """Whether a slot was lost or has come while the store did not answer."""
        return is_changing(slot, self._kept)

    def wait_for_slot(self, slot: Slot) -> None:
        """Wait until the only trial of an engine can be started on a slot, which is reserved then.

        It returns at once if the slot was lost (`is_changing`).

        Raises:
            Interrupted: an end is wanted.
        """
        self._engine.demand(1)
        said = ""
        while not self.is_changing(slot) and (why := self._engine.reserve(slot)):
            if why != said:
                self._viewer.said(f"waiting for a slot: {why}")
            said = why
            self._kept += self._engine.wait(TICK_S)
            if self._interrupts.signal_number:
                raise Interrupted(self._interrupts.signal_number)

    def forget_waiting(self) -> None:
        """Count the seconds for which the store is waited for from 0 again."""
        self._waited = 0.0

    def wait_for_store(self, why: str, seconds: float) -> None:
        """Receive and keep events for `seconds`, since the store does not answer.

        Raises:
            Interrupted: an end of the sweep is wanted and has not begun.
            StoreError: the sweep is ending, and the store was waited for long enough.
        """
        self._waited += seconds
        self._check_interrupts(why)
        self._viewer.said(f"the store does not answer, waiting: {why}")
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            began = time.monotonic()
            self._kept += self._engine.wait(min(left, TICK_S))
            if time.monotonic() - began < TICK_S / 2:
                time.sleep(min(left, TICK_S / 2))
            self._check_interrupts(why)

    def _check_interrupts(self, why: str) -> None:
        if not self._interrupts.signal_number:
            return
        if not self._interrupts.ending:
            raise Interrupted(self._interrupts.signal_number)
        if self._interrupts.timed_out or self._waited > signals.GIVE_UP_S:
            raise StoreError(f"store {self._store} does not answer: {why}; {AGAIN}")


def call_aside(call: Callable[[], Answer], meanwhile: Callable[[], None], every_s: float) -> Answer:
    """What `call` returns; this thread calls `meanwhile` every so many seconds until then.

    If `meanwhile` raises, or a signal does, `call` is left alone: nobody learns how it ends. It
    does not keep the program from ending.
    """
    over = threading.Event()
    answers: list[Answer] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            answers.append(call())
        except BaseException as error:
            errors.append(error)
        finally:
            over.set()

    threading.Thread(target=work, name="aside", daemon=True).start()
    while not over.wait(every_s):
        meanwhile()
    if errors:
        raise errors[0]
    return answers[0]
