"""Dimensions: drawn evenly, read from what users write, cut to parts."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Any

import hyperopt.pyll.stochastic
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.errors import InputError
from lstm_sweep.spaces.dimension import Dimension, Listed, Range, Value
from lstm_sweep.spaces.space import parse_dimension

DRAWS = 2_000
DECADES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
#: every kind of dimension that can be listed
LISTABLE: list[Dimension] = [
    Listed("learning_rate", DECADES),
    Listed("layers", (2, 3)),
    Listed("layers", (5,)),
    Listed("direction", ("uni", "bi")),
    Listed("optimizer", ("sgd", "adam", "rmsprop")),
    Range("dropout", 0.0, 0.8, step=0.1),
    Range("dropout", 0.05, 0.5, step=0.15),
    Range("layers", 1, 4, step=1),
    Range("layer_size", 32, 512, step=16, log=True),
    Range("layer_size", 32, 512, step=480, log=True),
    Range("sequence_length", 20, 160, step=10, log=True),
    Range("batch_size", 1, 8, step=1, log=True),
]
CONTINUOUS = [
    Range("dropout", 0.0, 0.8),
    Range("dropout", 0.1234, 0.1236),
    Range("learning_rate", 1e-5, 1.0, log=True),
    Range("learning_rate", 0.012345, 0.98765, log=True),
    Range("learning_rate", 1e-5, 1.0),
]


def drawn_by_hyperopt(dimension: Dimension, draws: int = DRAWS) -> list[Value]:
    """Values as Hyperopt's random search draws them."""
    expression, rng = dimension.expression(), np.random.default_rng(7)
    return [
        dimension.decode(float(hyperopt.pyll.stochastic.sample(expression, rng)))
        for _ in range(draws)
    ]


def chi_square(values: list[Value], expected: list[Value]) -> float:
    """Chi-square of drawn values against equal shares."""
    counts = Counter(values)
    assert set(counts) <= set(expected)
    share = len(values) / len(expected)
    return sum((counts[value] - share) ** 2 / share for value in expected)


def chi_square_bound(values: int) -> float:
    """Four standard deviations above the mean of chi-square."""
    freedom = values - 1
    return freedom + 4 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("dimension", LISTABLE, ids=str)
def test_each_listed_value_comes_back_from_its_raw_number(dimension: Dimension) -> None:
    values = dimension.values()
    assert values
    assert [dimension.decode(dimension.encode(value)) for value in values] == values


@pytest.mark.parametrize(
    "dimension",
    [
        Listed("learning_rate", DECADES),
        Listed("optimizer", ("sgd", "adam", "rmsprop")),
        Range("dropout", 0.05, 0.5, step=0.15),
        Range("layers", 1, 5, step=1),
    ],
    ids=str,
)
def test_hyperopt_draws_every_value_about_equally_often(dimension: Dimension) -> None:
    values = dimension.values() or []
    assert chi_square(drawn_by_hyperopt(dimension), values) < chi_square_bound(len(values))


def test_a_log_range_draws_each_octave_about_equally_often() -> None:
    drawn = drawn_by_hyperopt(Range("learning_rate", 1e-4, 1.0, log=True))
    decades: list[Value] = [math.floor(math.log10(float(value))) for value in drawn if value != 1.0]
    assert chi_square(decades, [-4, -3, -2, -1]) < chi_square_bound(4)


@pytest.mark.parametrize(
    "dimension, others",
    [
        (Range("dropout", 0.0, 0.8), [0.8001, -0.0001, True, "0.1", None, 0.12345]),
        (Range("layer_size", 32, 512, step=16, log=True), [33, 31, 513, 528]),
    ],
    ids=str,
)
def test_a_range_contains_its_ends_but_not_what_it_cannot_draw(
    dimension: Range, others: list[object]
) -> None:
    assert dimension.low in dimension and dimension.high in dimension
    assert [value for value in others if value in dimension] == []


@given(
    low=st.integers(0, 50),
    steps=st.integers(1, 20),
    step=st.sampled_from([0.001, 0.005, 0.01, 0.02]),
    share=st.floats(0, 1),
)
def test_any_draw_of_a_stepped_range_is_one_of_its_values(
    low: int, steps: int, step: float, share: float
) -> None:
    bottom = low / 100
    dimension = parse_dimension(
        "dropout", {"low": bottom, "high": round(bottom + steps * step, 10), "step": step}, "here"
    )
    assert isinstance(dimension, Range)
    raw = dimension.low - step / 2 + share * (dimension.high - dimension.low + step)
    assert dimension.decode(raw) in (dimension.values() or [])


@pytest.mark.parametrize(("low", "high"), [(1e-11, 1e-10), (1e-7, 1e-6), (1e11, 1e12)])
def test_all_values_of_a_stepped_range_are_drawn_however_small_or_large(
    low: float, high: float
) -> None:
    dimension = Range("weight_decay", low, high, step=low)
    rng = np.random.default_rng(0)
    drawn = {dimension.decode(dimension.draw(rng)) for _ in range(500)}
    values = dimension.values() or []
    assert drawn == set(values) and len(values) == 10
    assert all(value in dimension for value in values)


@given(
    low=st.floats(1e-6, 1.0),
    width=st.floats(1.1, 1e3),
    share=st.floats(0, 1),
)
def test_any_draw_of_a_log_range_is_contained(low: float, width: float, share: float) -> None:
    dimension = Range("learning_rate", low, low * width, log=True)
    raw = math.log(low) + share * math.log(width)
    assert dimension.decode(raw) in dimension


@pytest.mark.parametrize(
    "field, given, expected",
    [
        ("layers", 3, Listed("layers", (3,))),
        ("layers", "3", Listed("layers", (3,))),
        ("layers", [3, 2], Listed("layers", (2, 3))),  # numbers are put in order
        ("layers", " 3 , 2 ,", Listed("layers", (2, 3))),
        ("learning_rate", ["1e-3", 0.1], Listed("learning_rate", (0.001, 0.1))),  # 1e-3 in YAML
        ("direction", "bi,uni", Listed("direction", ("bi", "uni"))),  # words keep theirs
        ("dropout", " 0 .. 0.5 ", Range("dropout", 0.0, 0.5)),
        ("dropout", "0.2..0.2", Listed("dropout", (0.2,))),
        ("layers", "1..4", Range("layers", 1.0, 4.0, step=1.0)),  # integers have a step of 1
        ("layer_size", "32..64", Range("layer_size", 32.0, 64.0, step=1.0, log=True)),
        ("learning_rate", "1e-5..1", Range("learning_rate", 1e-5, 1.0, log=True)),
        ("dropout", {"low": 0, "high": 0.5, "step": 0.1}, Range("dropout", 0.0, 0.5, step=0.1)),
        (
            "learning_rate",
            {"low": 0.1, "high": 1, "scale": "linear"},
            Range("learning_rate", 0.1, 1.0),
        ),
        (
            "layer_size",
            {"low": "32", "high": "512", "step": "16"},
            Range("layer_size", 32.0, 512.0, step=16.0, log=True),
        ),
    ],
)
def test_text_lists_and_mappings_are_read(field: str, given: object, expected: Dimension) -> None:
    assert parse_dimension(field, given, "here") == expected


INTEGER, SHARE = "an integer from 1 to 16", "a number from 0 to 0.99"


@pytest.mark.parametrize(
    "field, given, message",
    [
        ("layers", " , ", f"layers has no values: expected {INTEGER}"),
        ("layers", [2.5], f"layers is 2.5: expected {INTEGER}"),
        ("layers", [99.0], f"layers is 99: expected {INTEGER}"),
        ("layers", "1..99", f"layers is 99: expected {INTEGER}"),
        ("dropout", [math.nan], f"dropout is nan: expected {SHARE}"),
        ("dropout", {"low": True, "high": 0.5}, f"dropout is 'True': expected {SHARE}"),
        ("direction", {"low": 0, "high": 1}, "direction is '0': expected one of uni, bi"),
        ("layers", "3..2", f"layers from 3 to 2 is empty: {INTEGER}, low first"),
        ("dropout", "0.1-0.5", f"dropout is '0.1-0.5': expected {SHARE}; did you mean 0.1..0.5?"),
        ("dropout", "0 to 0.5", f"dropout is '0 to 0.5': expected {SHARE}; did you mean 0..0.5?"),
    ],
)
def test_a_refusal_names_the_place_and_what_is_possible(
    field: str, given: object, message: str
) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(f'a.yaml: {message}')}$"):
        parse_dimension(field, given, "a.yaml")


@pytest.mark.parametrize("dimension", [*LISTABLE, *CONTINUOUS], ids=str)
def test_what_a_dimension_describes_is_read_back(dimension: Any) -> None:
    assert parse_dimension(dimension.field, dimension.describe(), "here") == dimension


any_dimension = st.sampled_from([*LISTABLE, *CONTINUOUS])
part = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize("dimension", [*LISTABLE, *CONTINUOUS], ids=str)
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


@pytest.mark.parametrize(
    "dimension, low, high, kept",
    [
        (Listed("learning_rate", DECADES), 1e-3, 1e-1, Listed("learning_rate", (1e-3, 1e-2, 1e-1))),
        (Listed("layers", (2, 4)), 3, 3, None),  # between two neighbours
        (Listed("layers", (2, 3)), 3, 2, None),  # upside down
        (Listed("direction", ("uni", "bi")), 0, 9, None),  # words have no order
        (Range("dropout", 0.0, 0.8), 0.2, 0.4, Range("dropout", 0.2, 0.4)),
        (Range("dropout", 0.0, 0.8), 0.8, 9, Listed("dropout", (0.8,))),  # one value is no range
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


@given(data=st.data())
def test_between_two_listed_values_are_just_those_that_lie_there(data: st.DataObject) -> None:
    numbers = [d for d in LISTABLE if d.field not in ("direction", "optimizer")]
    dimension = data.draw(st.sampled_from(numbers))
    values = [float(value) for value in dimension.values() or []]
    low, high = sorted(data.draw(st.tuples(st.sampled_from(values), st.sampled_from(values))))
    kept = dimension.between(low, high)
    assert kept and kept.values() == [value for value in values if low <= value <= high]


@given(
    dimension=st.sampled_from([one for one in CONTINUOUS if one.log]),
    shares=st.tuples(part, part),
    share=part,
)
def test_part_of_a_log_range_keeps_its_ends_and_adds_nothing(
    dimension: Range, shares: tuple[float, float], share: float
) -> None:
    low, high = (float(dimension.value_at(one)) for one in sorted(shares))
    kept = dimension.between(low, high)
    assert kept and low in kept and high in kept
    drawn = kept.value_at(share)
    assert low <= float(drawn) <= high
    assert drawn in dimension
