"""Ctrl-C and SIGTERM that wait until the books are in order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """The user or the system wants an end: Ctrl-C, SIGTERM, or a terminal that closes."""

    def __init__(self, number: int) -> None:
        #: exit code by the shell's convention
        self.code = 128 + number
        super().__init__(signal.Signals(number).name)


class Shield:
    """Holds signals back while something is written that must not be left half done.

    Inside `up()` the handler is ours; inside `hold()` a first signal is remembered and raised at
    the end, a second one is raised at once. With `to_the_end`, all are dropped: the end has come
    already. Elsewhere a signal is raised at once, as ever. In a thread other than the main one,
    where no signal arrives, nothing is changed.
    """

    def __init__(self) -> None:
        self._holding = False
        #: whether the end has come already
        self.ending = False
        self._pending = 0
        #: the first signal that has come since `up`; 0 if none has
        self.asked = 0

    @contextmanager
    def up(self) -> Iterator[None]:
        """Take over the signals that end a program."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self.asked = 0
        before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.asked = self.asked or number
        if self.ending:
            return
        if self._holding and not self._pending:
            self._pending = number
            return
        raise Interrupted(number)

    @contextmanager
    def hold(self, *, to_the_end: bool = False) -> Iterator[None]:
        """Let nothing be left half done."""
        self._holding, self.ending = True, to_the_end
        try:
            yield
        finally:
            self._holding = self.ending = False
            pending, self._pending = self._pending, 0
        if pending and not to_the_end:
            raise Interrupted(pending)
