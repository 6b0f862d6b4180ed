"""Ctrl-C comes late where something must not be left half done, and never gets lost."""

from __future__ import annotations

import os
import signal

import pytest

from search.interrupt import Shield


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_is_raised_at_once_outside_of_hold() -> None:
    with pytest.raises(KeyboardInterrupt), Shield().up():
        interrupt()


def test_an_interrupt_waits_for_the_end_of_hold() -> None:
    shield, steps = Shield(), []
    with pytest.raises(KeyboardInterrupt), shield.up():
        with shield.hold():
            interrupt()
            steps.append("written")
        steps.append("never")
    assert steps == ["written"]


def test_a_second_interrupt_is_not_held_back() -> None:
    shield, steps = Shield(), []
    with pytest.raises(KeyboardInterrupt), shield.up(), shield.hold():
        interrupt()
        steps.append("written")
        interrupt()
        steps.append("never")
    assert steps == ["written"]


def test_the_handler_of_before_comes_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Shield().up():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
