"""Runs what takes long beside the caller's thread, so that Ctrl-C ends it in order."""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from lstm_sweep.search.process.signals import Interrupts

Answer = TypeVar("Answer")

#: seconds between two looks whether the caller is interrupted
LOOK_S = 0.2


def drive(
    work: Callable[[Interrupts], Answer], advice: Callable[[Answer], str] | None = None
) -> Answer:
    """What `work` returns in a thread of its own.

    If this thread is interrupted, `work` is asked to end and waited for, and then the interruption
    is raised here, with a note of what `advice` makes of the answer, or of the result of a sweep
    whose store has failed. A second one does not wait: what is open then, `Sweep.resume` closes.
    """
    request = Interrupts()
    answer = Future[Answer]()

    def run() -> None:
        try:
            answer.set_result(work(request))
        except BaseException as error:
            answer.set_exception(error)

    # with the context of the caller, by which a notebook knows the cell that output belongs to
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), name="lstm-sweep", daemon=True)
    try:
        thread.start()
        while not wait([answer], LOOK_S).done:  # a wait without a timeout may not notice Ctrl-C
            pass
        return answer.result()
    except BaseException as error:
        request.request()
        with contextlib.suppress(RuntimeError):  # it was not started
            thread.join()
        if advice and answer.done():
            failure = answer.exception()
            result = getattr(failure, "result", None) if failure else answer.result()
            if result is not None:
                error.add_note(advice(result))
        raise
