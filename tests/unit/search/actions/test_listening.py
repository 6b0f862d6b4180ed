"""Events are read from the lines of a stream."""

from __future__ import annotations

from lstm_sweep.search.actions.connection import Event, parsed


def test_events_are_read_and_one_that_is_broken_off_is_left_out() -> None:
    lines = [
        "retry: 2000", "", ": ping", "", "event: trial", 'data: {"number":', "data: 1}", "id: a",
        "", "event: end", "data: {}", "id: b",
    ]  # fmt: skip
    assert list(parsed(lines)) == [Event("trial", {"number": 1}, "a")]
    assert [event.name for event in parsed([*lines, ""])] == ["trial", "end"]
