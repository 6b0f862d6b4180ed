from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.search.results.rerun import (
    TOLERANCE,
    Comparison,
    Rounds,
    compare,
    with_losses,
)

WAS: Rounds = [
    {"loss": 3.0, "val_loss": 2.0},
    {"loss": 2.0, "val_loss": 1.0},
    {"loss": 1.5, "val_loss": 0.5},
]


def changed(epoch: int, metric: str, value: float) -> Rounds:
    """The first run with one other value."""
    return [
        {**metrics, metric: value} if number == epoch else metrics
        for number, metrics in enumerate(WAS, start=1)
    ]


@given(
    epochs=st.lists(
        st.fixed_dictionaries({"loss": st.floats(0, 10), "val_loss": st.floats(0, 10)}), max_size=5
    ),
    cut_short=st.booleans(),
)
def test_any_run_is_identical_to_itself(epochs: Rounds, cut_short: bool) -> None:
    assert compare(epochs, epochs, cut_short=cut_short).verdict == "identical"


def test_a_small_difference_is_within_tolerance() -> None:
    found = compare(WAS, changed(2, "val_loss", 1.0 + TOLERANCE / 2))
    assert found.verdict == "within_tolerance"
    assert found.max_difference == pytest.approx(TOLERANCE / 2)
    assert found.first_difference == {
        "epoch": 2,
        "metric": "val_loss",
        "was": 1.0,
        "is": 1.0 + TOLERANCE / 2,
    }


@pytest.mark.parametrize("sign", [1, -1])
def test_a_larger_difference_is_different(sign: int) -> None:
    found = compare(WAS, changed(3, "loss", 1.5 + sign * 1.5 * TOLERANCE * 2))
    assert found.verdict == "different"
    assert found.max_difference == pytest.approx(1.5 * TOLERANCE * 2)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_no_number_is_different(value: float) -> None:
    found = compare(WAS, changed(1, "loss", value))
    assert (found.verdict, found.max_difference) == ("different", math.inf)


@pytest.mark.parametrize("was, now", [(None, 0.5), (0.5, None)])
def test_a_result_against_none_is_different(was: float | None, now: float | None) -> None:
    found = with_losses(compare(WAS, WAS), was, now)
    assert (found.verdict, found.max_difference) == ("different", math.inf)
    assert found.first_difference == {"epoch": 3, "metric": "loss", "was": was, "is": now}


@pytest.mark.parametrize("cut_short", [False, True])
def test_fewer_epochs_than_before_are_different(cut_short: bool) -> None:
    assert compare(WAS, WAS[:2], cut_short=cut_short) == Comparison(
        "different", 2, 0.0, {"epoch": 3, "metric": "epochs", "was": 3, "is": 2}
    )


def test_more_epochs_than_a_run_that_was_cut_short_are_no_difference() -> None:
    assert compare(WAS[:2], WAS, cut_short=True) == Comparison("identical", 2, 0.0, None)


def test_a_run_that_was_cut_short_is_compared_as_far_as_it_went() -> None:
    now = changed(2, "loss", 7.0)
    assert compare(WAS[:2], now, cut_short=True).verdict == "different"
    assert compare(WAS[:1], now, cut_short=True).verdict == "identical"
