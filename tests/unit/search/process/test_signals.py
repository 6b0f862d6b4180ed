"""Ctrl-C comes late where something must not be left half done, and never gets lost."""

from __future__ import annotations

import os
import signal
import time

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.process import signals
from lstm_sweep.search.process.signals import Interrupted, Interrupts, Shield, stop_within_s


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_a_second_interrupt_is_not_held_back() -> None:
    shield, steps = Shield(), []
    with pytest.raises(KeyboardInterrupt), shield.up(), shield.hold():
        interrupt()
        steps.append("written")
        interrupt()
        steps.append("never")
    assert steps == ["written"]


def test_an_interrupt_that_was_held_back_comes_though_the_section_fails() -> None:
    shield = Shield()
    with shield.up():
        with pytest.raises(KeyboardInterrupt) as caught, shield.hold():
            interrupt()
            raise ValueError("the store")
        assert isinstance(caught.value.__cause__, ValueError)
        with pytest.raises(ValueError, match="alone"), shield.hold():  # it comes once
            raise ValueError("alone")


def test_an_interrupt_waits_for_the_end_of_the_outermost_hold() -> None:
    shield, steps = Shield(), []
    with pytest.raises(KeyboardInterrupt), shield.up():
        with shield.hold():
            with shield.hold():
                interrupt()
                steps.append("inside")
            steps.append("after the inner one")
        steps.append("never")
    assert steps == ["inside", "after the inner one"]


def test_a_section_inside_the_last_one_does_not_end_the_end() -> None:
    shield, steps = Shield(), []
    with shield.up(), shield.hold(to_the_end=True):
        with shield.hold():
            interrupt()
        assert shield.ending
        interrupt()
        steps.append("closed")
    assert steps == ["closed"]


def test_a_terminal_that_closes_is_heard_unless_the_program_was_told_to_ignore_it() -> None:
    before = signal.getsignal(signal.SIGHUP)
    try:
        with pytest.raises(Interrupted) as caught, Shield().up():
            os.kill(os.getpid(), signal.SIGHUP)
        assert caught.value.code == 129
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` does
        shield = Shield()
        with shield.up():
            os.kill(os.getpid(), signal.SIGHUP)
        assert not shield.signal_number
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_time_that_an_end_has_begins_with_the_first_signal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shield, now = Shield(20.0), [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with pytest.raises(Interrupted), shield.up(), shield.hold():
        assert (shield.waited_s, shield.has_used(0.0)) == (0.0, False)
        interrupt()
        now[0] += 2 * signals.GIVE_UP_ALL_S - 1
        assert shield.has_used(0.5) and not shield.has_used()
        shield.request()
        now[0] += 2
        assert shield.has_used()
    request = Interrupts()
    request.request()
    now[0] += 1e6
    assert request.waited_s == 1e6 and not request.has_used()


def test_the_environment_says_how_much_time_there_is() -> None:
    assert stop_within_s({}) == 10.0
    assert stop_within_s({"LSTM_SWEEP_STOP_WITHIN_S": "60"}) == 60.0
    for given in ("9", "x", "nan", "1e9"):
        with pytest.raises(InputError) as caught:
            stop_within_s({"LSTM_SWEEP_STOP_WITHIN_S": given})
        expected = f"LSTM_SWEEP_STOP_WITHIN_S is '{given}': expected seconds from 10 to 3600"
        assert str(caught.value) == expected
