"""Ctrl-C comes late where something must not be left half done, and never gets lost."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
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


def test_a_request_that_is_never_answered_is_given_up_once_an_end_is_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lstm_sweep.search.process.signals.GIVE_UP_S", 0.1)
    shield, mute = Shield(), socket.socketpair()
    with pytest.raises(Interrupted), shield.up(), shield.hold():
        for _ in range(2):  # the one under way, and the next one
            with pytest.raises(TimeoutError, match="an end is wanted"), shield.limit_request():
                if not shield.signal_number:
                    interrupt()
                mute[0].recv(1)
    assert shield.timed_out


def test_a_request_that_swallows_its_end_is_given_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GIVE_UP_S", "AGAIN_S"):
        monkeypatch.setattr(f"lstm_sweep.search.process.signals.{name}", 0.1)
    shield, mute = Shield(), socket.socketpair()
    with pytest.raises(TimeoutError), shield.up(), shield.limit_request():
        with contextlib.suppress(Interrupted):
            interrupt()
        with contextlib.suppress(TimeoutError):
            mute[0].recv(1)
        mute[0].recv(1)


def test_all_requests_together_have_a_limit_once_an_end_is_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lstm_sweep.search.process.signals.GIVE_UP_ALL_S", 100.0)
    shield, answered, now = Shield(), 0, [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with pytest.raises(Interrupted), shield.up(), shield.hold():
        interrupt()
        with contextlib.suppress(TimeoutError):
            while True:
                with shield.limit_request():
                    now[0] += 30.0
                answered += 1
    assert answered == 4


def test_the_environment_says_how_much_time_there_is() -> None:
    assert stop_within_s({}) == 10.0
    assert stop_within_s({"LSTM_SWEEP_STOP_WITHIN_S": "60"}) == 60.0
    for given in ("9", "x", "nan", "1e9"):
        with pytest.raises(InputError) as caught:
            stop_within_s({"LSTM_SWEEP_STOP_WITHIN_S": given})
        expected = f"LSTM_SWEEP_STOP_WITHIN_S is '{given}': expected seconds from 10 to 3600"
        assert str(caught.value) == expected


def after_a_request(*, wanted: bool, ending: bool) -> bool:
    """Whether an end counts as timed out after a request."""
    request = Interrupts()
    if wanted:
        request.request()
    with request.hold(to_the_end=ending), pytest.raises(ConnectionError), request.limit_request():
        raise ConnectionError("no answer")
    return request.timed_out


def test_a_request_that_takes_too_long_at_the_end_that_is_wanted_is_noted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not after_a_request(wanted=True, ending=True)  # it has failed at once
    monkeypatch.setattr(signals, "GIVE_UP_S", -1.0)  # so each takes too long
    assert after_a_request(wanted=True, ending=True)


def test_a_request_before_the_end_or_at_one_that_nobody_has_asked_for_may_take_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(signals, "GIVE_UP_S", -1.0)
    assert not after_a_request(wanted=True, ending=False)
    assert not after_a_request(wanted=False, ending=True)
