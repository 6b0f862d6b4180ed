"""The value at a share of the draws, and the part of a range between two numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.spaces.dimension import Dimension, Listed, Range
from tests.unit.spaces.dimensions import CONTINUOUS, DECADES, DRAWS, LISTABLE

each_dimension = pytest.mark.parametrize("dimension", [*LISTABLE, *CONTINUOUS], ids=str)
any_dimension = st.sampled_from([*LISTABLE, *CONTINUOUS])
part = st.floats(0, 1, exclude_max=True)


@each_dimension
def test_a_share_of_the_draws_lies_below_the_number_at_that_share(dimension: Dimension) -> None:
    rng = np.random.default_rng(11)
    drawn = np.array([dimension.draw(rng) for _ in range(DRAWS)])
    for share in np.arange(0.02, 1.0, 0.02):
        raw = dimension.at(float(share))
        assert np.mean(drawn < raw) - 0.035 < share < np.mean(drawn <= raw) + 0.035


@each_dimension
def test_even_shares_give_the_same_values_as_draws_do(dimension: Dimension) -> None:
    rng = np.random.default_rng(5)
    drawn = sorted(dimension.encode(dimension.decode(dimension.draw(rng))) for _ in range(DRAWS))
    shares = (np.arange(DRAWS) + 0.5) / DRAWS
    even = sorted(dimension.encode(dimension.value_at(float(s))) for s in shares)
    every = np.unique([*drawn, *even])
    apart = np.searchsorted(drawn, every, "right") - np.searchsorted(even, every, "right")
    assert np.max(np.abs(apart)) < 0.035 * DRAWS  # the distance of Kolmogorov and Smirnov


@given(dimension=any_dimension, share=part)
def test_every_share_stands_for_a_value(dimension: Dimension, share: float) -> None:
    assert dimension.value_at(share) in dimension


@given(
    dimension=any_dimension,
    shares=st.tuples(part, part),
)
def test_a_larger_share_gives_no_smaller_number(
    dimension: Dimension, shares: tuple[float, float]
) -> None:
    low, high = sorted(shares)
    assert dimension.at(low) <= dimension.at(high)


@pytest.mark.parametrize("dimension", LISTABLE, ids=str)
def test_the_first_and_the_last_share_are_the_first_and_the_last_value(
    dimension: Dimension,
) -> None:
    values = dimension.values() or []
    first, last = (dimension.value_at(share) for share in (0.0, 1 - 1e-12))
    assert (first, last) == (values[0], values[-1])


@pytest.mark.parametrize(
    "dimension, low, high, kept",
    [
        (Listed("learning_rate", DECADES), 1e-3, 1e-1, Listed("learning_rate", (1e-3, 1e-2, 1e-1))),
        (Listed("learning_rate", DECADES), 0, 9, Listed("learning_rate", DECADES)),
        (Listed("layers", (2, 3)), 3, 9, Listed("layers", (3,))),
        (Listed("layers", (2, 4)), 3, 3, None),  # between two neighbours
        (Listed("layers", (2, 3)), 4, 9, None),
        (Listed("layers", (2, 3)), 3, 2, None),  # upside down
        (Listed("direction", ("uni", "bi")), 0, 9, None),  # words have no order
        (Range("dropout", 0.0, 0.8), 0.2, 0.4, Range("dropout", 0.2, 0.4)),
        (Range("dropout", 0.0, 0.8), -1, 0.4, Range("dropout", 0.0, 0.4)),
        (Range("dropout", 0.0, 0.8), 0.2, 9, Range("dropout", 0.2, 0.8)),
        (Range("dropout", 0.0, 0.8), 0.8, 9, Listed("dropout", (0.8,))),  # one value is no range
        (Range("dropout", 0.1, 0.8), 0.0, 0.05, None),
        (
            Range("learning_rate", 1e-5, 1.0, log=True),
            1e-3,
            0.1,
            Range("learning_rate", 1e-3, 0.1, log=True),
        ),
        (
            Range("layer_size", 32, 512, step=16, log=True),
            50,
            130,
            Range("layer_size", 64, 128, step=16, log=True),  # steps stay where they are
        ),
        (Range("layer_size", 32, 512, step=16, log=True), 33, 63, Listed("layer_size", (48,))),
        (Range("layer_size", 32, 512, step=16, log=True), 33, 47, None),
    ],
)
def test_values_between_two_numbers(
    dimension: Dimension, low: float, high: float, kept: Dimension | None
) -> None:
    assert dimension.between(low, high) == kept


def test_one_value_that_is_left_has_the_type_of_its_field() -> None:
    kept = Range("layers", 1.0, 4.0, step=1.0).between(2, 2)
    assert kept and [type(value) for value in kept.values() or []] == [int]


@given(data=st.data())
def test_between_two_listed_values_are_just_those_that_lie_there(data: st.DataObject) -> None:
    numbers = [d for d in LISTABLE if d.field not in ("direction", "optimizer")]
    dimension = data.draw(st.sampled_from(numbers))
    values = [float(value) for value in dimension.values() or []]
    low, high = sorted(data.draw(st.tuples(st.sampled_from(values), st.sampled_from(values))))
    kept = dimension.between(low, high)
    assert kept and kept.values() == [value for value in values if low <= value <= high]


LOG = [dimension for dimension in CONTINUOUS if dimension.log]


def check_between(dimension: Range, shares: tuple[float, float], share: float) -> None:
    """Part of a range keeps its ends, and every draw from it is one of the whole range."""
    ends = [float(dimension.value_at(part)) for part in sorted(shares)]
    kept = dimension.between(*ends)
    assert kept and all(end in kept for end in ends)
    drawn = kept.value_at(share)
    assert ends[0] <= float(drawn) <= ends[1]
    assert drawn in dimension


@given(dimension=st.sampled_from(LOG), shares=st.tuples(part, part), share=part)
def test_part_of_a_log_range_keeps_its_ends_and_adds_nothing(
    dimension: Range, shares: tuple[float, float], share: float
) -> None:
    check_between(dimension, shares, share)


def test_part_of_a_linear_range_adds_nothing() -> None:
    check_between(Range("learning_rate", 1e-5, 1.0), (0.01, 0.03), 0.23456)
