from __future__ import annotations

import pytest

from lstm_sweep.search.process import signals
from lstm_sweep.search.process.signals import Interrupts


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
