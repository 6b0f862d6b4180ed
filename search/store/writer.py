"""Writes into a store in order, in a thread of its own; nobody else waits for the store."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from lstm_sweep.search.process.signals import GIVE_UP_S, SHARE_USED, Interrupted, Interrupts
from lstm_sweep.search.store.base import Store
from lstm_sweep.search.store.faults import (
    AGAIN,
    NoAnswerError,
    StoreError,
)

#: writes that may wait before no further trial is begun, and seconds for which one may: a driver
#: that is killed loses what was not written
MOST_WAITING, MOST_WAITING_S = 100, 10.0
#: seconds before a store that does not answer is asked again: at first, and the longest
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 15.0
#: seconds between two looks of whoever waits for what is written
LOOK_S = 0.05
#: seconds that threads with nothing to write have to end
IDLE_WITHIN_S = 2.0

Answer = TypeVar("Answer")
#: one or more requests that may be made again, as after an answer that was lost
Write = Callable[[], object]


class Writer:
    """A queue of writes, and the thread that makes them.

    A store that does not answer is asked again, with growing pauses. A write that fails for good
    stays the first: nothing is written until it is tried `again` or left out. Whoever puts writes
    into the queue calls `look`, in whose thread all else is told.
    """

    def __init__(self, store: Store, interrupts: Interrupts, said: Callable[[str], None]) -> None:
        """`said` is told that the store does not answer."""
        self.store, self.interrupts, self._said = store, interrupts, said
        #: writes in order, and when each was put
        self._queue: deque[tuple[Write, float]] = deque()
        #: what is to be called in the thread that looks
        self._told: deque[Callable[[], None]] = deque()
        #: held while one of these is changed for which the thread waits
        self._changed = threading.Condition()
        #: how a write has failed, and which
        self._fault: BaseException | None = None
        self._failed: Write | None = None
        self._closed = False
        #: what is written every so many seconds beside the queue, and when it is due
        self._regular: Write | None = None
        self._every_s, self._due = 0.0, math.inf
        #: why the store does not answer; empty if it does
        self._away = ""
        self._wait_s = FIRST_WAIT_S
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)
        #: writes what is regular and overdue, since a write of the queue takes long
        self._helper = threading.Thread(target=self._help, name="writer, overdue", daemon=True)
        #: held while what is regular is written
        self._regular_lock = threading.RLock()

    @property
    def is_behind(self) -> bool:
        """Whether so much waits that nothing should be begun of which more is to be written."""
        with self._changed:
            first = self._queue[0][1] if self._queue else math.inf
        late = time.monotonic() - first > MOST_WAITING_S
        return bool(self._away or self._fault) or late or len(self._queue) > MOST_WAITING

    @property
    def is_short_of_time(self) -> bool:
        """Whether an end is wanted, and has no time for what it can do without."""
        return self.interrupts.has_used(SHARE_USED)

    def put(self, write: Write) -> None:
        """Let something be written after all that was put before."""
        with self._changed:
            self._queue.append((write, time.monotonic()))
            self._changed.notify_all()
        self._go_on()

    def regularly(self, write: Write | None, every_s: float = math.inf) -> None:
        """Let something be written every so many seconds, also while a write takes long.

        Once this returns, nothing that was regular before is being written.
        """
        with self._regular_lock, self._changed:
            self._regular, self._every_s = write, every_s
            self._due = time.monotonic() + every_s
            self._changed.notify_all()

    def ask(self, call: Callable[[], Answer]) -> Answer:
        """What a call returns that is made after all that was put before; it is waited for.

        Raises:
            StoreError: the store has failed, or there is no time to wait for it.
            Interrupted: an end is wanted, and the store does not answer.
        """
        answer = Future[Answer]()

        def work() -> None:
            try:
                answer.set_result(call())
            except NoAnswerError:
                raise
            except BaseException as error:
                answer.set_exception(error)

        self.put(work)
        self._await(answer.done)
        return answer.result()

    def tell(self, call: Callable[[], None]) -> None:
        """Have something called in the thread that looks."""
        self._told.append(call)

    def look(self) -> None:
        """Call what is told, in the thread that decides.

        Raises:
            Exception: a write has failed so.
        """
        self._go_on()
        while self._told:
            self._told.popleft()()
        self.check()

    def check(self) -> None:
        """Make sure that no write has failed.

        Raises:
            Exception: one has failed so.
        """
        if self._fault:
            raise self._fault

    def breathe(self, seconds: float) -> None:
        """Wait so many seconds, or until less is to be written."""
        with self._changed:
            self._changed.wait_for(lambda: not self.is_behind or self._fault, seconds)

    def drain(self) -> None:
        """Wait until all is written.

        Raises:
            StoreError: the store has failed, or there is no time to wait for it.
            Interrupted: an end is wanted, and the store does not answer.
            Exception: a write has failed so; what comes after it is not written.
        """
        self._await(lambda: not self._queue)

    def again(self, *, without_first: bool = False) -> None:
        """Go on after a write has failed: with it, or without it."""
        with self._changed:
            if without_first and self._queue and self._queue[0][0] is self._failed:
                self._queue.popleft()
            self._fault = self._failed = None
            self._changed.notify_all()
        self._go_on()

    def close(self) -> None:
        """Write no more; a request that is under way ends by itself."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in () if self._queue else (self._thread, self._helper):
            if thread.ident and thread is not threading.current_thread():
                thread.join(IDLE_WITHIN_S)

    def _await(self, is_done: Callable[[], bool]) -> None:
        while not is_done():
            self.look()
            self._check_patience()
            with self._changed:
                self._changed.wait_for(lambda: is_done() or self._told or self._fault, LOOK_S)
        self.look()

    def _check_patience(self) -> None:
        """Wait no longer for a store once an end is wanted and the time for that is over."""
        interrupts = self.interrupts
        if not interrupts.signal_number:
            return
        if self._away and not interrupts.ending:
            raise Interrupted(interrupts.signal_number)
        if interrupts.has_used() or (self._away and interrupts.waited_s > GIVE_UP_S):
            self.close()
            why = self._away or "no answer in time, now that an end is wanted"
            raise StoreError(f"store {self.store.settings} does not answer: {why}; {AGAIN}")

    def _go_on(self) -> None:
        """Have the thread work."""
        if not self._thread.ident:
            self._thread.start()
            self._helper.start()

    @property
    def _due_at(self) -> float:
        """When the regular write is due; it has time once an end is wanted, which has none."""
        return self._due + (2 * self._every_s if self.interrupts.signal_number else 0.0)

    def _next(self) -> bool:
        """Whether there is something to write now."""
        if self._closed or self._fault:
            return False
        return bool(self._queue) or time.monotonic() >= self._due_at

    def _work(self) -> None:
        while not self._closed:
            with self._changed:
                idle = self._fault or self._due == math.inf
                left = None if idle else max(0.0, self._due_at - time.monotonic())
                self._changed.wait_for(lambda: self._closed or self._next(), left)
            self._step()

    def _step(self) -> None:
        """Make the first write of the queue, or the regular one if it is due."""
        with self._changed:
            if self._closed or self._fault:
                return
            regular = self._regular if time.monotonic() >= self._due_at else None
            if not (regular or self._queue):
                return
            write = regular or self._queue[0][0]
        try:
            if regular:
                with self._regular_lock:
                    if regular is self._regular:  # it was not taken back since
                        regular()
            else:
                write()
        except NoAnswerError as error:
            self._wait(error.why)
            return
        except BaseException as error:
            with self._changed:
                self._fault, self._failed = error, write
                self._changed.notify_all()
            return
        with self._changed:
            self._away, self._wait_s = "", FIRST_WAIT_S
            if not regular:
                self._queue.popleft()
            elif regular is self._regular:
                self._due = time.monotonic() + self._every_s
            self._changed.notify_all()

    def _help(self) -> None:
        """Write what is regular once it is overdue by as long as the time between two of it."""
        while not self._closed:
            with self._changed:
                late = self._due_at + self._every_s
                left = None if late == math.inf else max(0.0, late - time.monotonic())
                if left != 0.0:
                    self._changed.wait(left)
                    continue
            with self._regular_lock:
                if not self._regular or time.monotonic() < self._due_at:
                    continue
                self._due = time.monotonic() + self._every_s
                try:
                    self._regular()
                except NoAnswerError:
                    pass  # the write that takes long notices it, too
                except BaseException as error:
                    with self._changed:
                        self._fault = self._fault or error
                        self._changed.notify_all()

    def _wait(self, why: str) -> None:
        """Wait for a while, since the store does not answer."""
        self._away = why
        self.tell(partial(self._said, f"the store does not answer, waiting: {why}"))
        with self._changed:
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closed, self._wait_s)
        self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)


#: writes that are made at a time by `write_all`
AT_ONCE = 8


def write_all(waiting: list[Write]) -> None:
    """Make writes side by side; those that fail wait on, and the first error is raised.

    No thread keeps the program from ending, as one of a pool would whose request hangs.
    """
    left, failed = deque(waiting), list[tuple[Write, BaseException]]()

    def work() -> None:
        with contextlib.suppress(IndexError):
            while True:
                write = left.popleft()
                try:
                    write()
                except BaseException as error:
                    failed.append((write, error))

    threads = [threading.Thread(target=work, daemon=True) for _ in waiting[:AT_ONCE]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    waiting[:] = [write for write, _ in failed]
    if failed:
        raise failed[0][1]
