"""A function in a thread that is suspended while nobody requests its next event."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue

from lstm_sweep.models.network.events import TemplateEvent

Report = Callable[[TemplateEvent], None]


class _Cancelled(BaseException):
    """Raised in the thread to end it, when no more events are requested."""


def events_of(work: Callable[[Report], None], name: str) -> Iterator[TemplateEvent]:
    """Run `work` in a thread called `name`, and yield the events that it reports.

    The thread runs only while an event is requested. An exception of `work` is raised here, also a
    `SystemExit`.
    """
    events: SimpleQueue[TemplateEvent | BaseException | None] = SimpleQueue()
    resume = threading.Semaphore(0)
    cancelled = False

    def wait() -> None:
        resume.acquire()
        if cancelled:
            raise _Cancelled

    def report(event: TemplateEvent) -> None:
        events.put(event)
        wait()

    def body() -> None:
        try:
            wait()
            work(report)
            events.put(None)
        except BaseException as error:  # also SystemExit, which must not end the worker
            events.put(error)

    thread = threading.Thread(target=body, name=name, daemon=True)
    thread.start()
    try:
        while True:
            resume.release()
            with contextlib.redirect_stdout(sys.stderr):  # standard output belongs to results
                event = events.get()
            if event is None:
                return
            if isinstance(event, BaseException):
                raise event
            yield event
    finally:
        cancelled = True
        resume.release()
        thread.join()
