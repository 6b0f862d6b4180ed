from __future__ import annotations

import math
from collections import Counter

import hyperopt.pyll.stochastic
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.spaces.dimension import Dimension, Listed, Range, Value
from lstm_sweep.spaces.field_values import parse
from tests.unit.spaces.dimensions import CONTINUOUS, DECADES, DRAWS, LISTABLE


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


@pytest.mark.parametrize("dimension", LISTABLE, ids=str)
def test_each_listed_value_is_contained(dimension: Dimension) -> None:
    values = dimension.values()
    assert values and all(value in dimension for value in values)


@pytest.mark.parametrize(
    "dimension",
    [
        Listed("learning_rate", DECADES),
        Listed("batch_size", (32, 64, 128, 256)),
        Listed("layers", (2, 3)),
        Listed("direction", ("uni", "bi")),
        Listed("optimizer", ("sgd", "adam", "rmsprop")),
        Range("dropout", 0.0, 0.8, step=0.1),
        Range("dropout", 0.05, 0.5, step=0.15),
        Range("layers", 1, 5, step=1),
        Range("layer_size", 10, 100, step=10),
    ],
    ids=str,
)
def test_hyperopt_draws_every_value_about_equally_often(dimension: Dimension) -> None:
    values = dimension.values() or []
    assert chi_square(drawn_by_hyperopt(dimension), values) < chi_square_bound(len(values))


def test_hyperopt_draws_the_ends_of_a_stepped_range_as_often_as_the_rest() -> None:
    counts = Counter(drawn_by_hyperopt(Range("layers", 1, 4, step=1)))
    assert min(counts[1], counts[4]) > 0.85 * DRAWS / 4  # a half-weight end would have 0.67


@pytest.mark.parametrize("dimension", [d for d in LISTABLE if not isinstance(d, Range)], ids=str)
def test_own_draws_are_as_even_as_those_of_hyperopt(dimension: Dimension) -> None:
    rng = np.random.default_rng(3)
    values = dimension.values() or []
    drawn = [dimension.decode(dimension.draw(rng)) for _ in range(DRAWS)]
    assert chi_square(drawn, values) <= chi_square_bound(len(values))


def test_every_value_of_a_stepped_log_range_is_drawn() -> None:
    dimension = Range("layer_size", 32, 512, step=32, log=True)
    assert set(drawn_by_hyperopt(dimension)) == set(dimension.values() or [])


def test_a_log_range_draws_each_octave_about_equally_often() -> None:
    drawn = drawn_by_hyperopt(Range("learning_rate", 1e-4, 1.0, log=True))
    decades: list[Value] = [math.floor(math.log10(float(value))) for value in drawn if value != 1.0]
    assert chi_square(decades, [-4, -3, -2, -1]) < chi_square_bound(4)


def test_learning_rates_come_out_as_exact_decades() -> None:
    assert set(drawn_by_hyperopt(Listed("learning_rate", DECADES), 300)) == set(DECADES)


@pytest.mark.parametrize("raw, word", [(0, "sgd"), (1, "adam"), (2, "rmsprop")])
def test_words_decode_by_their_place_in_the_list(raw: int, word: str) -> None:
    assert Listed("optimizer", ("sgd", "adam", "rmsprop")).decode(raw) == word


@pytest.mark.parametrize(
    "raw, value",
    [
        (-0.5, 32),  # the lowest draw
        (0.4999, 32),
        (0.5001, 64),
        (2.4999, 128),
        (2.5, 128),  # the highest draw, which rounds up
    ],
)
def test_raw_numbers_decode_to_the_nearest_place_in_the_list(raw: float, value: int) -> None:
    assert Listed("batch_size", (32, 64, 128)).decode(raw) == value


@pytest.mark.parametrize("dimension", [*LISTABLE, *CONTINUOUS], ids=str)
def test_raw_numbers_of_words_are_integers_and_others_are_kept(dimension: Dimension) -> None:
    words = isinstance(dimension, Listed) and not dimension.ordered
    assert type(dimension.raw(1.0)) is (int if words else float)


@pytest.mark.parametrize("dimension", CONTINUOUS, ids=str)
def test_drawn_numbers_of_a_continuous_range_are_contained(dimension: Range) -> None:
    assert all(value in dimension for value in drawn_by_hyperopt(dimension, 300))


@pytest.mark.parametrize("dimension", CONTINUOUS, ids=str)
def test_a_continuous_range_has_no_list_of_values(dimension: Range) -> None:
    assert dimension.values() is None


@pytest.mark.parametrize("dimension", CONTINUOUS, ids=str)
def test_both_ends_of_a_continuous_range_are_contained(dimension: Range) -> None:
    assert dimension.low in dimension and dimension.high in dimension


@pytest.mark.parametrize("value", [0.8001, -0.0001, True, "0.1", None, 0.12345])
def test_a_range_does_not_contain_what_it_cannot_draw(value: object) -> None:
    assert value not in Range("dropout", 0.0, 0.8)


@pytest.mark.parametrize("value", [33, 31, 513, 528])
def test_a_stepped_range_contains_only_its_steps(value: int) -> None:
    assert value not in Range("layer_size", 32, 512, step=16, log=True)


def test_numbers_of_an_integer_field_come_out_as_integers() -> None:
    drawn = drawn_by_hyperopt(Range("layer_size", 32, 64, step=16), 50)
    assert {type(value) for value in drawn} == {int}


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
    dimension = parse(
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


@given(low=st.floats(0.0, 0.5), width=st.floats(1e-3, 0.4), share=st.floats(0, 1))
def test_any_draw_of_a_linear_range_is_contained(low: float, width: float, share: float) -> None:
    dimension = Range("dropout", low, low + width)
    assert dimension.decode(low + share * width) in dimension
