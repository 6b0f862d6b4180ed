"""Hears the trials of a sweep, also while the store does not answer."""

from __future__ import annotations

import time

from lstm_sweep.search.engines.base import Engine, Event
from lstm_sweep.search.process import signals
from lstm_sweep.search.process.interrupts import Interrupts
from lstm_sweep.search.process.signals import Interrupted
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.sweep.observer import Viewer
from lstm_sweep.search.trial import Slot

#: seconds between two looks at the clock while nothing happens
TICK_S = 0.25


class Listener:
    """Hears trials in order; what they say while the store is away is kept until it is back."""

    def __init__(self, engine: Engine, interrupts: Interrupts, viewer: Viewer, store: str) -> None:
        self._engine, self._interrupts, self._viewer = engine, interrupts, viewer
        #: the store's name for people
        self._store = store
        self._heard: list[tuple[Slot, Event]] = []
        self._waited = 0.0

    def hear(self) -> list[tuple[Slot, Event]]:
        """What trials have said, as soon as there is something; empty after a while."""
        heard = self._heard or [*self._engine.wait(TICK_S)]
        self._heard = []
        return heard

    def be_patient_again(self) -> None:
        """Give the store its time anew."""
        self._waited = 0.0

    def wait_for_store(self, why: str, seconds: float) -> None:
        """The store does not answer: listen to the trials for so many seconds.

        Raises:
            Interrupted: the user wants an end, and it has not come yet.
            StoreError: the end has come, and the store has had its time.
        """
        self._waited += seconds
        self._heed(why)
        self._viewer.said(f"the store does not answer, waiting: {why}")
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            began = time.monotonic()
            self._heard += self._engine.wait(min(left, TICK_S))
            if time.monotonic() - began < TICK_S / 2:
                time.sleep(min(left, TICK_S / 2))
            self._heed(why)

    def _heed(self, why: str) -> None:
        if not self._interrupts.signal_number:
            return
        if not self._interrupts.ending:
            raise Interrupted(self._interrupts.signal_number)
        if self._interrupts.timed_out or self._waited > signals.GIVE_UP_S:
            raise StoreError(f"store {self._store} does not answer: {why}")
