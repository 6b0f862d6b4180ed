"""Ctrl-C that waits until the books are in order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Shield:
    """Holds Ctrl-C back while something is written that must not be left half done.

    Inside `up()` the handler is ours; inside `hold()` a first Ctrl-C is remembered and raised at
    the end, a second one is raised at once. Elsewhere it is raised at once, as ever. In a thread
    other than the main one, where no signal arrives, nothing is changed.
    """

    def __init__(self) -> None:
        self._holding = False
        self._pending = False

    @contextmanager
    def up(self) -> Iterator[None]:
        """Take over Ctrl-C."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._holding and not self._pending:
            self._pending = True
            return
        raise KeyboardInterrupt

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Let nothing be left half done by Ctrl-C."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self._pending:
            self._pending = False
            raise KeyboardInterrupt
