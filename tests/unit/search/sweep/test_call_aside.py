from __future__ import annotations

import threading

import pytest

from lstm_sweep.search.sweep.inbox import call_aside


def test_something_else_is_done_until_a_call_returns() -> None:
    enough, calls = threading.Event(), list[int]()

    def meanwhile() -> None:
        calls.append(threading.get_ident())
        if len(calls) == 3:
            enough.set()

    assert call_aside(lambda: enough.wait(60), meanwhile, 0.001) is True
    assert len(calls) >= 3 and set(calls) == {threading.get_ident()}


def test_what_a_call_raises_is_raised_here() -> None:
    def fail() -> None:
        raise KeyError("it")

    with pytest.raises(KeyError, match="it"):
        call_aside(fail, lambda: None, 60)


def test_a_call_is_left_alone_if_something_is_raised_meanwhile() -> None:
    over = threading.Event()

    def meanwhile() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        call_aside(lambda: over.wait(60), meanwhile, 0.001)
    over.set()
