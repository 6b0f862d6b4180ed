"""Ctrl-C and SIGTERM that wait until the books are in order."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: seconds that a request gets once an end is wanted, and that all requests get from then on
GIVE_UP_S, GIVE_UP_ALL_S = 3.0, 6.0
#: seconds from the first signal to the end of the program, whatever it is doing
END_WITHIN_S = 9.0
#: seconds until a request is given up again that has swallowed it
AGAIN_S = 0.5


class Interrupted(KeyboardInterrupt):
    """The user or the system wants an end: Ctrl-C, SIGTERM, or a terminal that closes."""

    def __init__(self, number: int) -> None:
        #: exit code by the shell's convention
        self.code = 128 + number
        super().__init__(signal.Signals(number).name)


class Shield:
    """Holds signals back while something is written that must not be left half done.

    Inside `up()` the handler is ours; inside `hold()` a first signal is remembered and raised at
    the end of the outermost one, also if that ends with an exception, which is then the cause; a
    second one is raised at once. With `to_the_end`, all are dropped: the end has come already.
    Elsewhere a signal is raised at once, as ever. In a thread other than the main one, where no
    signal arrives, nothing is changed; nor is SIGHUP where `nohup` has it ignored.

    What is held back must not wait for somebody who never answers, so from the first signal on
    there is a limit to what happens inside `asking()`.
    """

    def __init__(self) -> None:
        #: how many `hold` are open, one inside the other
        self._holding = 0
        #: whether the end has come already
        self.ending = False
        self._pending = 0
        #: the first signal that has come since `up`; 0 if none has
        self.asked = 0
        #: whether a request was given up since `up`, or since the end has come
        self.gave_up = False
        self._asking = False
        #: seconds that requests have left, and since when the present one uses them up
        self._left = GIVE_UP_ALL_S
        self._since: float | None = None

    @contextmanager
    def up(self) -> Iterator[None]:
        """Take over the signals that end a program."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self.asked, self._left, self.gave_up = 0, GIVE_UP_ALL_S, False
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        taken = [number for number in SIGNALS if number != signal.SIGHUP or not ignored]
        before = {number: signal.signal(number, self._handle) for number in taken}
        before[signal.SIGALRM] = signal.getsignal(signal.SIGALRM)
        try:
            with _last_resort():
                yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            _leave_closed_terminal()
        if not self.asked:
            self.asked = number
            if self._asking:
                self._limit()
        if self.ending:
            return
        if self._holding and not self._pending:
            self._pending = number
            return
        raise Interrupted(number)

    @contextmanager
    def hold(self, *, to_the_end: bool = False) -> Iterator[None]:
        """Let nothing be left half done."""
        ending = self.ending
        self._holding += 1
        self.ending = ending or to_the_end
        self.gave_up = self.gave_up and not to_the_end
        failure: BaseException | None = None
        try:
            yield
        except BaseException as error:
            failure = error
            raise
        finally:
            self._holding -= 1
            self.ending = ending
            if not self._holding:
                pending, self._pending = self._pending, 0
                interrupted = isinstance(failure, KeyboardInterrupt)  # by the second signal
                if pending and not to_the_end and not interrupted:
                    raise Interrupted(pending) from failure

    @contextmanager
    def asking(self) -> Iterator[None]:
        """A request to somebody else; once an end is wanted, it is given up in time.

        Raises:
            TimeoutError: there was no answer, or no time is left for one.
        """
        self._asking = True
        try:
            if self.asked:
                self._limit()
            yield
        finally:
            self._asking = False
            if self._since is not None:
                signal.setitimer(signal.ITIMER_REAL, 0)
                self._left -= time.monotonic() - self._since
                self._since = None

    def _limit(self) -> None:
        self._since = time.monotonic()
        if self._left <= 0:
            self._give_up()
        signal.signal(signal.SIGALRM, self._give_up)
        signal.setitimer(signal.ITIMER_REAL, min(GIVE_UP_S, self._left), AGAIN_S)

    def _give_up(self, number: int = 0, frame: FrameType | None = None) -> None:
        if self._asking:
            self.gave_up = True
            raise TimeoutError("no answer in time, now that an end is wanted")


def _leave_closed_terminal() -> None:
    """Write to nothing from now on if the terminal is gone, where each write would fail."""
    for descriptor in (1, 2):
        try:
            os.tcgetpgrp(descriptor)
        except OSError as error:
            if error.errno == errno.EIO:
                nothing = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nothing, descriptor)
                os.close(nothing)


@contextmanager
def _last_resort() -> Iterator[None]:
    """End the program if it has not heard a signal in time.

    While the main thread waits within a library, such as for a database file that another process
    has locked, no handler of Python's runs. A thread hears of a signal all the same. What the
    program could not write then is as after a kill: `resume` closes it.
    """
    heard, told = os.pipe()
    os.set_blocking(told, False)
    before = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    over = threading.Event()

    def watch() -> None:
        while numbers := os.read(heard, 64):
            asked = [number for number in numbers if number in SIGNALS]
            if asked and not over.wait(END_WITHIN_S):
                with contextlib.suppress(OSError, ValueError):  # such as of a terminal that is gone
                    text = "lstm-sweep: no time was left to close the runs"
                    print(text, file=sys.stderr, flush=True)
                os._exit(128 + asked[0])

    thread = threading.Thread(target=watch, name="last resort", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(before)
        os.close(told)
        thread.join()
        with contextlib.suppress(OSError):
            os.close(heard)
