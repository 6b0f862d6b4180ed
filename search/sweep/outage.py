"""Hears the trials of a sweep, also while the store does not answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from lstm_sweep.search.engines.base import Engine, Event
from lstm_sweep.search.process import signals
from lstm_sweep.search.process.interrupts import Interrupts
from lstm_sweep.search.process.signals import Interrupted
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.sweep.observer import Viewer
from lstm_sweep.search.trial import Slot

#: seconds between two looks at the clock while nothing happens
TICK_S = 0.25


class Listener:
    """Hears trials in order; messages that come while the store does not answer are kept."""

    def __init__(self, engine: Engine, interrupts: Interrupts, viewer: Viewer, store: str) -> None:
        self._engine, self._interrupts, self._viewer = engine, interrupts, viewer
        #: the store's name for people
        self._store = store
        self._heard: list[tuple[Slot, Event]] = []
        #: seconds that the store was waited for since `reset_time_limit`
        self._waited_s = 0.0

    @contextmanager
    def listening_while_waiting(self, store: Store) -> Iterator[None]:
        """Within the context, `store` calls `wait_for_store` while it does not answer.

        Requests have a time limit once an end is wanted.
        """
        store.wait_for_answer = self.wait_for_store
        store.limit_request = self._interrupts.limit_request
        try:
            yield
        finally:
            store.wait_for_answer, store.limit_request = None, nullcontext

    def hear(self) -> list[tuple[Slot, Event]]:
        """What trials have said, as soon as there is something; empty after a while."""
        heard = self._heard or [*self._engine.wait(TICK_S)]
        self._heard = []
        return heard

    def reset_time_limit(self) -> None:
        """Count anew the seconds that the store is waited for once an end is wanted."""
        self._waited_s = 0.0

    def wait_for_store(self, why: str, seconds: float) -> None:
        """Listen to the trials for so many seconds, since the store does not answer.

        Raises:
            Interrupted: an end is wanted, and the sweep is not ending yet.
            StoreError: the sweep is ending, and the time limit is reached.
        """
        self._waited_s += seconds
        self._check_interrupts(why)
        self._viewer.said(f"the store does not answer, waiting: {why}")
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            began = time.monotonic()
            self._heard += self._engine.wait(min(left, TICK_S))
            if time.monotonic() - began < TICK_S / 2:
                time.sleep(min(left, TICK_S / 2))
            self._check_interrupts(why)

    def _check_interrupts(self, why: str) -> None:
        if not self._interrupts.signal_number:
            return
        if not self._interrupts.ending:
            raise Interrupted(self._interrupts.signal_number)
        if self._interrupts.timed_out or self._waited_s > signals.GIVE_UP_S:
            raise StoreError(f"store {self._store} does not answer: {why}")
