"""What a store is told of the expected end of a sweep, and what is shown on the spot."""

from __future__ import annotations

from typing import Any

import pytest

from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.sweep.dispatch import expected_tags
from lstm_sweep.search.sweep.state import SweepState
from lstm_sweep.search.sweep.transitions import EndEstimated, after


def state(**known: Any) -> SweepState:
    """A sweep that began at 100 s, 20 s ago."""
    return SweepState("s", SweepSpec(trials=9), "run", (), began=100.0, now=120.0, **known)


def test_the_store_is_told_of_the_end_that_is_shown_on_the_spot() -> None:
    now = after(state(), EndEstimated(150.0))
    told = float(expected_tags(now)[Tag.EXPECTED_SECONDS])
    assert now.seconds_left == pytest.approx(told - now.seconds) == 30.0


def test_what_nobody_knows_any_more_is_cleared_in_the_store() -> None:
    unknown = after(after(state(), EndEstimated(150.0)), EndEstimated(None))
    assert expected_tags(unknown) == {Tag.EXPECTED_SECONDS: ""}
