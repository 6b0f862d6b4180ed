"""What a store is told of the expected end of a sweep, and what is shown on the spot."""

from __future__ import annotations

from typing import Any

import pytest

from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.sweep.events import EndEstimated
from lstm_sweep.search.sweep.loop_parts import expected_tags
from lstm_sweep.search.sweep.state import SweepState
from lstm_sweep.search.sweep.transitions import after


def state(**known: Any) -> SweepState:
    """A sweep that began at 100 s, 20 s ago."""
    return SweepState("s", SweepSpec(trials=9), "run", (), began=100.0, now=120.0, **known)


def test_the_store_is_told_of_the_end_and_range_that_are_shown_on_the_spot() -> None:
    now = after(state(), EndEstimated(150.0, (140.0, 180.0)))
    told = expected_tags(now)
    assert now.seconds_left == pytest.approx(float(told[Tag.EXPECTED_SECONDS]) - now.seconds)
    ends = (float(told[tag]) - now.seconds for tag in (Tag.EXPECTED_LOW, Tag.EXPECTED_HIGH))
    assert now.seconds_left_range == pytest.approx(tuple(ends)) == (20.0, 60.0)


def test_what_nobody_knows_any_more_is_cleared_in_the_store() -> None:
    known = after(state(), EndEstimated(150.0, (140.0, 180.0)))
    told = expected_tags(after(known, EndEstimated(None)))
    assert told == dict.fromkeys((Tag.EXPECTED_LOW, Tag.EXPECTED_SECONDS, Tag.EXPECTED_HIGH), "")
