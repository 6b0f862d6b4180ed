"""Writes into a store in order, in threads of its own; nobody else waits for the store."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from lstm_sweep.search.process.signals import GIVE_UP_S, SHARE_USED, Interrupted, Interrupts
from lstm_sweep.search.store.faults import AGAIN, NoAnswerError, StoreError
from lstm_sweep.search.store.tracking import Store

#: writes that may wait before no further trial is begun, and seconds for which one may: a driver
#: that is killed loses what was not written
MOST_WAITING, MOST_WAITING_S = 100, 10.0
#: seconds before a store that does not answer is asked again: at first, and the longest
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 15.0
#: seconds between two looks of whoever waits for what is written
LOOK_S = 0.05
#: seconds that threads with nothing to write have to end
IDLE_WITHIN_S = 2.0
#: writes that are made beside each other
AT_ONCE = 8

Answer = TypeVar("Answer")
#: one or more requests that may be made again, as after an answer that was lost
Write = Callable[[], object]


@dataclass(eq=False)
class _Entry:
    write: Write
    #: whether it may be made at the same time as those next to it that may, too
    beside: bool = False
    put_at: float = field(default_factory=time.monotonic)
    #: how it has failed
    error: BaseException | None = None

    def make(self) -> None:
        try:
            self.write()
            self.error = None
        except BaseException as error:
            self.error = error


class Writer:
    """A queue of writes, and two threads: one makes them, one what is regular beside them.

    A store that does not answer is asked again, with growing pauses. A write that fails for good
    stays the first: nothing is written until it is tried `again` or left out. Whoever puts writes
    into the queue calls `look`, in whose thread all else is told.
    """

    def __init__(self, store: Store, interrupts: Interrupts, said: Callable[[str], None]) -> None:
        """`said` is told that the store does not answer."""
        self.store, self.interrupts, self._said = store, interrupts, said
        self._queue: deque[_Entry] = deque()
        #: what is to be called in the thread that looks
        self._told: deque[Callable[[], None]] = deque()
        #: held while one of these is changed for which a thread waits
        self._changed = threading.Condition()
        #: how a write has failed, and which of the queue
        self._fault: BaseException | None = None
        self._failed: _Entry | None = None
        self._closed = False
        #: what is written every so many seconds beside the queue, and when it is due
        self._regular: Write | None = None
        self._every_s, self._due = math.inf, math.inf
        #: held while that is written
        self._regular_lock = threading.RLock()
        #: why the store does not answer; empty if it does
        self._away = ""
        self._wait_s = FIRST_WAIT_S
        self._threads = [
            threading.Thread(target=work, name="writer", daemon=True)
            for work in (self._work, self._work_regularly)
        ]

    @property
    def is_behind(self) -> bool:
        with self._changed:
            first = self._queue[0].put_at if self._queue else math.inf
        late = time.monotonic() - first > MOST_WAITING_S
        return bool(self._away or self._fault) or late or len(self._queue) > MOST_WAITING

    @property
    def fault(self) -> BaseException | None:
        return self._fault

    @property
    def is_short_of_time(self) -> bool:
        return self.interrupts.has_used(SHARE_USED)

    def put(self, write: Write, *, beside: bool = False) -> None:
        """Let something be written after all before, but for what may be written `beside` it."""
        with self._changed:
            self._queue.append(_Entry(write, beside))
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
        self._told.append(call)

    def look(self) -> None:
        """Call what is told, in the thread that decides; raise what a write has failed by."""
        self._go_on()
        while self._told:
            self._told.popleft()()
        self.check()

    def check(self) -> None:
        if self._fault:
            raise self._fault

    def breathe(self, seconds: float) -> None:
        """Wait so many seconds, or until less is to be written."""
        with self._changed:
            self._changed.wait_for(lambda: not self.is_behind or self._fault, seconds)

    def drain(self) -> None:
        """Wait until all is written; raises as `ask` and `check`."""
        self._await(lambda: not self._queue)

    def again(self, *, without_first: bool = False) -> None:
        with self._changed:
            if without_first and self._queue and self._queue[0] is self._failed:
                self._queue.popleft()
            self._fault = self._failed = None
            self._changed.notify_all()

    def close(self) -> None:
        """Write no more; a request that is under way ends by itself."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in () if self._queue else self._threads:  # which have nothing to write
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
        if not self._threads[0].ident:
            for thread in self._threads:
                thread.start()

    def _next(self) -> bool:
        return bool(self._queue) and not (self._closed or self._fault)

    def _work(self) -> None:
        while not self._closed:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._next())
            if self._next():
                self._write_regular()  # whoever has lost its lease writes nothing more
            if self._next():
                self._step()

    def _step(self) -> None:
        """Make the first write of the queue, or the first ones beside each other."""
        most = AT_ONCE if self.store.settings.is_server else 1
        with self._changed:
            first = list(itertools.islice(self._queue, most))
        entries = list(itertools.takewhile(lambda entry: entry.beside, first)) or first[:1]
        # no thread keeps the program from ending, as one of a pool would whose request hangs
        others = [threading.Thread(target=entry.make, daemon=True) for entry in entries[1:]]
        for thread in others:
            thread.start()
        entries[0].make()
        for thread in others:
            thread.join()
        failed = [entry for entry in entries if entry.error]
        with self._changed:
            for entry in entries:
                if entry not in failed:
                    self._queue.remove(entry)
            self._failed = next(iter(failed), None)
            self._note(self._failed.error if self._failed else None)

    def _work_regularly(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                due_in = math.inf if self._fault else self._due_in
                if due_in > 0:
                    self._changed.wait(None if due_in == math.inf else due_in)
                    continue
            self._write_regular()

    @property
    def _due_in(self) -> float:
        """Seconds until the regular write is due; it has time once an end is wanted."""
        late = 2 * self._every_s if self.interrupts.signal_number else 0.0
        return self._due + late - time.monotonic()

    def _write_regular(self) -> None:
        """Write what is regular if it is due; what waits in the queue notices an outage itself."""
        with self._regular_lock:
            if not self._regular or self._due_in > 0:
                return
            entry = _Entry(self._regular)
            entry.make()
            error = entry.error
            lasts = bool(error) and not isinstance(error, NoAnswerError)
            is_noted = lasts or not self._queue
            if not (is_noted and isinstance(error, StoreError)):
                self._due = time.monotonic() + self._every_s
        if is_noted:
            self._note(error)

    def _note(self, error: BaseException | None) -> None:
        """Note how a write has ended; wait for a while if the store does not answer."""
        with self._changed:
            if not isinstance(error, NoAnswerError):
                self._away, self._wait_s = "", FIRST_WAIT_S
                self._fault = self._fault or error
                self._changed.notify_all()
                return
            self._away = error.why
            self.tell(partial(self._said, f"the store does not answer, waiting: {error.why}"))
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closed, self._wait_s)
            self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)
