"""How a sweep is interrupted: by Ctrl-C, SIGTERM and SIGHUP, or by another thread.

A signal is deferred until a write to the store has finished; a second one is not.
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

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: seconds from SIGTERM to SIGKILL, as containers get them; where there are more, this variable says
#: so, and all times below are longer in proportion
STOP_WITHIN_S, STOP_WITHIN = 10.0, "LSTM_SWEEP_STOP_WITHIN_S"
LONGEST_STOP_S = 3600.0
#: the same of a service, which ends its drivers first
SERVICE_STOP_S = 20.0
#: after the first signal: seconds for one request, and for all requests together
GIVE_UP_S, GIVE_UP_ALL_S = 3.0, 6.0
#: share of these seconds that must be left for what an end can do without
SHARE_LEFT = 0.7
#: seconds from the first signal to the end of the program, even if it does not react
END_WITHIN_S = 9.0
#: seconds until a request that has caught the `TimeoutError` is interrupted again
AGAIN_S = 0.5


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

    This one installs no signal handler: any thread may ask for the end by `request`, and the sweep
    notices it within a second. No thread can break off a request of another one, so one that is
    under way ends by itself, at the latest after the timeout of the store's settings. A
    `KeyboardInterrupt` that is raised all the same ends the sweep in order too.
    """

    def __init__(self) -> None:
        #: number of the first signal; 0 if there was none
        self.signal_number = 0
        #: whether the sweep is ending already, so that a further signal changes nothing
        self.ending = False
        #: whether a request to a server has taken too long since then
        self.timed_out = False

    def request(self, number: int = signal.SIGINT) -> None:
        """Ask for the end, as a signal of this number does."""
        self.signal_number = int(number)

    @property
    def short_of_time(self) -> bool:
        """Whether an end is wanted, and has no time for what it can do without."""
        return self.timed_out

    @contextmanager
    def hold(self, *, to_the_end: bool = False) -> Iterator[None]:
        """Defer an interruption until the block has ended; with `to_the_end`, drop it."""
        before, self.ending = self.ending, self.ending or to_the_end
        try:
            yield
        finally:
            self.ending = before

    @contextmanager
    def limit_request(self) -> Iterator[None]:
        """A request to a server; one that takes too long while the sweep ends is the last."""
        began = time.monotonic()
        try:
            yield
        finally:
            late = time.monotonic() - began > GIVE_UP_S
            self.timed_out = self.timed_out or (late and self.ending and self.signal_number > 0)


class Shield(Interrupts):
    """Defers signals of the process during writes that must not be interrupted.

    Within `up()`, signals are handled here and raise `Interrupted` immediately, except within
    `hold()`: there the first signal is raised at the end of the outermost `hold()` (an exception
    that ends it becomes the cause), and a second one immediately. Within `hold(to_the_end=True)`,
    while the program is ending already, signals are dropped. Outside the main thread, which gets
    no signals, nothing changes; neither does SIGHUP if it is ignored, as by `nohup`.

    A deferred signal must not wait for a server that does not answer: after the first signal,
    requests within `limit_request()` have a time limit.
    """

    def __init__(self, stop_within_s: float = STOP_WITHIN_S) -> None:
        """`stop_within_s`: seconds from a signal to the end that is forced from outside."""
        super().__init__()
        self._stretch = stop_within_s / STOP_WITHIN_S
        #: number of nested `hold` contexts
        self._holding = 0
        self._pending = 0
        self._requesting = False
        #: seconds left for requests, and when the limit of the present one began
        self._left = GIVE_UP_ALL_S * self._stretch
        self._since: float | None = None

    @contextmanager
    def up(self) -> Iterator[None]:
        """Handle the signals that end a program."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self.signal_number, self.timed_out = 0, False
        self._left = GIVE_UP_ALL_S * self._stretch
        alarm = signal.getsignal(signal.SIGALRM)
        with _handled(self._handle):
            try:
                with _last_resort(END_WITHIN_S * self._stretch):
                    yield
            finally:
                signal.signal(signal.SIGALRM, alarm)

    @property
    @override
    def short_of_time(self) -> bool:
        enough = SHARE_LEFT * GIVE_UP_ALL_S * self._stretch
        return bool(self.signal_number) and self._left < enough

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self.signal_number:
            self.signal_number = number
            if self._requesting:
                self._limit()
        if self.ending:
            return
        if self._holding and not self._pending:
            self._pending = number
            return
        raise Interrupted(number)

    @override
    @contextmanager
    def hold(self, *, to_the_end: bool = False) -> Iterator[None]:
        """Defer signals, or drop them with `to_the_end`; see the class."""
        ending = self.ending
        self._holding += 1
        self.ending = ending or to_the_end
        self.timed_out = self.timed_out and not to_the_end
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

    @override
    @contextmanager
    def limit_request(self) -> Iterator[None]:
        """A request to a server, with a time limit once a signal has come.

        Raises:
            TimeoutError: the limit is reached.
        """
        self._requesting = True
        try:
            if self.signal_number:
                self._limit()
            yield
        finally:
            self._requesting = False
            if self._since is not None:
                signal.setitimer(signal.ITIMER_REAL, 0)
                self._left -= time.monotonic() - self._since
                self._since = None

    def _limit(self) -> None:
        self._since = time.monotonic()
        if self._left <= 0:
            self._give_up()
        signal.signal(signal.SIGALRM, self._give_up)
        signal.setitimer(signal.ITIMER_REAL, min(GIVE_UP_S * self._stretch, self._left), AGAIN_S)

    def _give_up(self, number: int = 0, frame: FrameType | None = None) -> None:
        if self._requesting:
            self.timed_out = True
            raise TimeoutError("no answer in time, now that an end is wanted")


def stop_within_s(environment: Mapping[str, str] = os.environ) -> float:
    """Seconds from SIGTERM to SIGKILL that the environment says a program has.

    Raises:
        InputError: it says none that can be.
    """
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
    """Seconds from SIGTERM to SIGKILL that a service has: what the environment says, if it is more.

    Raises:
        InputError: it says none that can be.
    """
    return max(SERVICE_STOP_S, stop_within_s(environment))


@contextmanager
def _handled(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
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
                nothing = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nothing, descriptor)
                os.close(nothing)


@contextmanager
def _last_resort(within_s: float) -> Iterator[None]:
    """End the program so many seconds after the first signal, if it has not ended by itself.

    Python runs no signal handler while the main thread is within a C library, for example waiting
    for a locked database file. A thread is notified through `signal.set_wakeup_fd`. Runs that are
    open then are closed by `resume`, as after a kill.
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
