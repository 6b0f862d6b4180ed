"""What runs beside the caller's thread: its answer, and how Ctrl-C ends it."""

from __future__ import annotations

import _thread
import time

import pytest

import lstm_sweep as ls
from lstm_sweep._sweep import drive
from lstm_sweep.search.process.signals import Interrupts


def test_what_is_driven_answers_or_raises() -> None:
    assert drive(lambda interrupts: interrupts.signal_number) == 0

    def fails(interrupts: Interrupts) -> None:
        raise ls.InputError("no")

    with pytest.raises(ls.InputError, match=r"^no$"):
        drive(fails)


def test_an_interruption_asks_for_the_end_and_waits_for_it() -> None:
    said: list[str] = []

    def work(interrupts: Interrupts) -> str:
        time.sleep(0.1)  # until the caller waits
        _thread.interrupt_main()
        while not interrupts.signal_number:
            time.sleep(0.01)
        said.append("closed in order")
        return "docs-1"

    with pytest.raises(KeyboardInterrupt) as caught:
        drive(work, advice=lambda name: f"{name} goes on")
    assert said == ["closed in order"]
    assert caught.value.__notes__ == ["docs-1 goes on"]
