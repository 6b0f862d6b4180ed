"""Calls something in a thread, and does something else until it has returned."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")


def call_aside(call: Callable[[], Answer], meanwhile: Callable[[], None], every_s: float) -> Answer:
    """What `call` returns; this thread calls `meanwhile` every so many seconds until then.

    If `meanwhile` raises, or a signal does, `call` is left alone: nobody learns how it ends. It
    does not keep the program from ending.
    """
    over = threading.Event()
    answers: list[Answer] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            answers.append(call())
        except BaseException as error:
            errors.append(error)
        finally:
            over.set()

    threading.Thread(target=work, name="aside", daemon=True).start()
    while not over.wait(every_s):
        meanwhile()
    if errors:
        raise errors[0]
    return answers[0]
