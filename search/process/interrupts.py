"""How a sweep learns that somebody wants it to end; it installs no signal handler of its own."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol


class Interrupts(Protocol):
    """Says whether an end is wanted, and defers it while something must not be left half done.

    `search.process.signals.Shield` is the one of the command line, which has taken over the
    signals. A program that has not gives `NEVER`, in which case a `KeyboardInterrupt` of its own
    ends the sweep in order all the same, or an `EndRequest`, which any of its threads may use.
    """

    @property
    def signal_number(self) -> int:
        """Number of the signal by which an end is wanted; 0 as long as nobody wants one."""

    @property
    def ending(self) -> bool:
        """Whether the end has come already, so that another wish for it changes nothing."""

    @property
    def timed_out(self) -> bool:
        """Whether a request was given up since an end is wanted."""

    def hold(self, *, to_the_end: bool = False) -> AbstractContextManager[None]:
        """Defer an interruption until the block has ended; with `to_the_end`, drop it."""

    def limit_request(self) -> AbstractContextManager[None]:
        """Around a request to a server, which may be given up once an end is wanted.

        Raises:
            TimeoutError: it was given up.
        """


class Never:
    """Nobody asks for an end."""

    signal_number, ending, timed_out = 0, False, False

    def hold(self, *, to_the_end: bool = False) -> AbstractContextManager[None]:
        """Nothing is deferred."""
        return nullcontext()

    def limit_request(self) -> AbstractContextManager[None]:
        """Nothing is given up."""
        return nullcontext()


NEVER = Never()


class EndRequest:
    """An end that any thread may ask for; the sweep heeds it within a second."""

    timed_out = False

    def __init__(self) -> None:
        self.signal_number = 0
        self.ending = False

    def request(self) -> None:
        """Ask for the end."""
        self.signal_number = int(signal.SIGINT)

    @contextmanager
    def hold(self, *, to_the_end: bool = False) -> Iterator[None]:
        """Note whether the end has come; what is asked for meanwhile is heeded afterwards."""
        before, self.ending = self.ending, self.ending or to_the_end
        try:
            yield
        finally:
            self.ending = before

    def limit_request(self) -> AbstractContextManager[None]:
        """Nothing is given up."""
        return nullcontext()
