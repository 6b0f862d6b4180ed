"""How a sweep is interrupted: by Ctrl-C, SIGTERM and SIGHUP, or by another thread.

A signal is deferred until a decision is made and written down; a second one is not.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

from typing_extensions import override

from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.process.scoped import mute

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: seconds from SIGTERM to SIGKILL, as containers get them; where there are more, this variable says
#: so, and all times below are longer in proportion
STOP_WITHIN_S, STOP_WITHIN = 10.0, "LSTM_SWEEP_STOP_WITHIN_S"
LONGEST_STOP_S = 3600.0
#: the same of a service, which ends its drivers first
SERVICE_STOP_S = 20.0
#: after the first signal: seconds for a store that does not answer, and for all that is written
GIVE_UP_S, GIVE_UP_ALL_S = 3.0, 6.0
#: share of these seconds after which nothing is written that an end can do without
SHARE_USED = 0.3
#: seconds from the first signal to the end of the program, even if it does not react
END_WITHIN_S = 9.0


def signal_name(number: int) -> str:
    """What a signal is called, such as `SIGKILL`; `signal 35` if Python has no name for it."""
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal, which schedulers and libraries use
        return f"signal {number}"


class Interrupted(KeyboardInterrupt):
    """The program was told to end: Ctrl-C, SIGTERM, or a closed terminal."""

    def __init__(self, number: int) -> None:
        #: exit code by the convention of shells
        self.code = 128 + number
        super().__init__(signal_name(number))


class Interrupts:
    """Whether a sweep is to end, and what must not be left half done then.

    This one installs no signal handler: any thread may ask for the end by `request`.
    """

    def __init__(self) -> None:
        #: number of the first signal; 0 if there was none
        self.signal_number = 0
        #: when it came
        self._asked = 0.0
        #: whether the sweep is ending already, so that a further signal changes nothing
        self.ending = False

    def request(self, number: int = signal.SIGINT) -> None:
        if not self.signal_number:
            self._asked = time.monotonic()
            self.signal_number = int(number)

    @property
    def waited_s(self) -> float:
        return time.monotonic() - self._asked if self.signal_number else 0.0

    def has_used(self, share: float = 1.0) -> bool:
        """Whether so much of the time is over that the store has to take all that is left."""
        return False

    @contextmanager
    def hold(self, *, to_the_end: bool = False) -> Iterator[None]:
        """Defer an interruption until the block has ended; with `to_the_end`, drop it."""
        before, self.ending = self.ending, self.ending or to_the_end
        try:
            yield
        finally:
            self.ending = before


class Shield(Interrupts):
    """Defers signals of the process where something must not be left half done.

    Within `up()`, signals raise `Interrupted` at once, except within `hold()`: there the first one
    is raised at the end of the outermost `hold()` (an exception that ends it becomes the cause),
    and a second one at once. Within `hold(to_the_end=True)` signals are dropped. Outside the main
    thread, which gets no signals, nothing changes.
    """

    def __init__(self, stop_within_s: float = STOP_WITHIN_S) -> None:
        """`stop_within_s`: seconds from a signal to the end that is forced from outside."""
        super().__init__()
        self._stretch = stop_within_s / STOP_WITHIN_S
        #: number of nested `hold` contexts
        self._holding = 0
        self._pending = 0

    @contextmanager
    def up(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self.signal_number = 0
        with handled(self._handle), _last_resort(END_WITHIN_S * self._stretch):
            yield

    @override
    def has_used(self, share: float = 1.0) -> bool:
        return self.waited_s > share * GIVE_UP_ALL_S * self._stretch

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.request(number)
        if self.ending:
            return
        if self._holding and not self._pending:
            self._pending = number
            return
        raise Interrupted(number)

    @override
    @contextmanager
    def hold(self, *, to_the_end: bool = False) -> Iterator[None]:
        ending = self.ending
        self._holding += 1
        self.ending = ending or to_the_end
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


def stop_within_s(environment: Mapping[str, str] = os.environ) -> float:
    """Seconds from SIGTERM to SIGKILL that the environment says a program has."""
    given = environment.get(STOP_WITHIN, "")
    if not given:
        return STOP_WITHIN_S
    with contextlib.suppress(ValueError):
        if STOP_WITHIN_S <= (seconds := float(given)) <= LONGEST_STOP_S:
            return seconds
    raise InputError(
        f"{STOP_WITHIN} is {shown(given)}: expected seconds from {STOP_WITHIN_S:g} to "
        f"{LONGEST_STOP_S:g}"
    )


def service_stop_s(environment: Mapping[str, str] = os.environ) -> float:
    """Seconds from SIGTERM to SIGKILL of a service: what the environment says, if it is more."""
    return max(SERVICE_STOP_S, stop_within_s(environment))


@contextmanager
def handled(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle the signals that end a program; SIGHUP only if it is not ignored, as by `nohup`."""

    def handle_one(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            _mute_closed_terminal()
        handle(number, frame)

    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    taken = [number for number in SIGNALS if number != signal.SIGHUP or not ignored]
    before = {number: signal.signal(number, handle_one) for number in taken}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _mute_closed_terminal() -> None:
    """Discard further output if the terminal is closed, where each write would fail."""
    for descriptor in (1, 2):
        try:
            os.tcgetpgrp(descriptor)
        except OSError as error:
            if error.errno == errno.EIO:
                mute([descriptor])


@contextmanager
def _last_resort(within_s: float) -> Iterator[None]:
    """End the program so many seconds after the first signal, if it has not ended by itself.

    Python runs no signal handler while the main thread is within a C library, such as waiting for a
    locked database file; a thread is notified through `signal.set_wakeup_fd`.
    """
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    before = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    over = threading.Event()

    def watch() -> None:
        while numbers := os.read(read_end, 64):
            asked = [number for number in numbers if number in SIGNALS]
            if asked and not over.wait(within_s):
                with contextlib.suppress(OSError, ValueError):  # such as on a closed terminal
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
        os.close(write_end)
        thread.join()
        with contextlib.suppress(OSError):
            os.close(read_end)
