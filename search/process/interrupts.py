"""How a sweep learns that it is interrupted; it installs no signal handler of its own."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

from lstm_sweep.search.process.signals import GIVE_UP_S


class Interrupts(Protocol):
    """Whether the sweep is interrupted; defers that while something must not be left half done.

    `search.process.signals.Shield` is the one of the command line, which has taken over the
    signals. A program that has not gives `NEVER`, in which case a `KeyboardInterrupt` of its own
    ends the sweep in order all the same, or an `EndRequest`, which any of its threads may use.
    """

    @property
    def signal_number(self) -> int:
        """Number of the signal that interrupts the sweep; 0 if it is not interrupted."""

    @property
    def ending(self) -> bool:
        """Whether the sweep is ending already, so that a further signal changes nothing."""

    @property
    def timed_out(self) -> bool:
        """Whether a request after the interruption has taken too long."""

    @property
    def short_of_time(self) -> bool:
        """Whether it is interrupted, and has no time for what it can do without."""

    def hold(self, *, to_the_end: bool = False) -> AbstractContextManager[None]:
        """Defer an interruption until the block has ended; with `to_the_end`, drop it."""

    def limit_request(self) -> AbstractContextManager[None]:
        """Context of a request to a server, which may be given up after an interruption.

        Raises:
            TimeoutError: the limit is reached.
        """


class Never:
    """Never interrupts."""

    signal_number, ending, timed_out, short_of_time = 0, False, False, False

    def hold(self, *, to_the_end: bool = False) -> AbstractContextManager[None]:
        """Return a context that defers no signal."""
        return nullcontext()

    def limit_request(self) -> AbstractContextManager[None]:
        """Return a context without a time limit."""
        return nullcontext()


NEVER = Never()


class EndRequest:
    """An end that any thread may ask for; the sweep notices it within a second.

    No thread can break off a request of another one. So one that is under way ends by itself, at
    the latest after the timeout of the store's settings.
    """

    def __init__(self) -> None:
        self.signal_number = 0
        self.ending = False
        self.timed_out = False

    @property
    def short_of_time(self) -> bool:
        """Whether a request has taken too long, as nobody limits the time."""
        return self.timed_out

    def request(self, number: int = signal.SIGINT) -> None:
        """Ask for the end, as a signal of this number does."""
        self.signal_number = int(number)

    @contextmanager
    def hold(self, *, to_the_end: bool = False) -> Iterator[None]:
        """Note whether the sweep is ending; a request meanwhile is noticed afterwards."""
        before, self.ending = self.ending, self.ending or to_the_end
        try:
            yield
        finally:
            self.ending = before

    @contextmanager
    def limit_request(self) -> Iterator[None]:
        """Note whether a request takes too long while the sweep is ending; none follows it then."""
        began = time.monotonic()
        try:
            yield
        finally:
            late = time.monotonic() - began > GIVE_UP_S
            self.timed_out = self.timed_out or (late and self.ending and self.signal_number > 0)
