"""What is set for a while is as it was afterwards, whoever else has set it meanwhile."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack

import pytest

from lstm_sweep.search.process.scoped import Overrides, variable


class Setting:
    """Has a value of its own, and a method of its class."""

    def __init__(self) -> None:
        self.default = 120

    def get(self) -> int:
        """The value."""
        return self.default


@pytest.mark.parametrize("before", [None, "", "0"])
def test_a_variable_is_there_for_a_while(
    before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME", "")
    if before is None:
        del os.environ["SOME"]
    else:
        monkeypatch.setenv("SOME", before)
    with pytest.raises(ValueError, match="inside"), variable("SOME", "1"):
        assert os.environ["SOME"] == "1"
        raise ValueError("inside")
    assert os.environ.get("SOME") == before


def test_attributes_have_other_values_for_a_while() -> None:
    setting, overrides = Setting(), Overrides()
    values = [(setting, "default", 30), (setting, "get", lambda: 0)]
    with pytest.raises(ValueError, match="inside"), overrides.hold(values):
        assert (setting.default, setting.get()) == (30, 0)
        raise ValueError("inside")
    assert vars(setting) == {"default": 120}
    assert setting.get() == 120


def test_threads_that_overlap_leave_it_as_it_was() -> None:
    setting, overrides = Setting(), Overrides()
    inside, may_leave = threading.Event(), threading.Event()

    def other() -> None:
        with overrides.hold([(setting, "default", 5)]):
            inside.set()
            may_leave.wait(60)

    thread = threading.Thread(target=other)
    with ExitStack() as stack:
        stack.enter_context(overrides.hold([(setting, "default", 30)]))
        thread.start()
        assert inside.wait(60)
    assert setting.default == 30
    may_leave.set()
    thread.join(60)
    assert setting.default == 120
