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
from lstm_sweep.spaces.field_values import parse

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


# parse ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "field, given, expected",
    [
        ("layers", 3, Listed("layers", (3,))),
        ("layers", "3", Listed("layers", (3,))),
        ("layers", 3.0, Listed("layers", (3,))),
        ("layers", [3, 2], Listed("layers", (2, 3))),  # numbers are put in order
        ("layers", " 3 , 2 ,", Listed("layers", (2, 3))),
        ("learning_rate", ["1e-3", 0.1], Listed("learning_rate", (0.001, 0.1))),  # 1e-3 in YAML
        ("learning_rate", "1e-3", Listed("learning_rate", (0.001,))),
        ("direction", "bi,uni", Listed("direction", ("bi", "uni"))),  # words keep theirs
        ("direction", ["uni"], Listed("direction", ("uni",))),
        ("optimizer", "adam", Listed("optimizer", ("adam",))),
        ("dropout", "0..0.5", Range("dropout", 0.0, 0.5)),
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
            "dropout",
            {"low": 0.1, "high": 0.5, "scale": "log"},
            Range("dropout", 0.1, 0.5, log=True),
        ),
        (
            "layer_size",
            {"low": "32", "high": "512", "step": "16"},
            Range("layer_size", 32.0, 512.0, step=16.0, log=True),
        ),
    ],
)
def test_text_lists_and_mappings_are_read(field: str, given: object, expected: Dimension) -> None:
    assert parse(field, given, "here") == expected


INTEGER, SHARE = "an integer from 1 to 16", "a number from 0 to 0.99"
WORDS = "one of uni, bi"


@pytest.mark.parametrize(
    "field, given, message",
    [
        # nothing
        ("layers", "", f"layers has no values: expected {INTEGER}"),
        ("layers", " , ", f"layers has no values: expected {INTEGER}"),
        ("layers", [], f"layers has no values: expected {INTEGER}"),
        ("layers", None, f"layers is None: expected {INTEGER}"),
        # out of limits
        ("layers", "2,17", f"layers is 17.0: expected {INTEGER}"),
        ("layers", [0], f"layers is 0: expected {INTEGER}"),
        ("layers", [2.5], f"layers is 2.5: expected {INTEGER}"),
        ("layers", "1..17", f"layers is 17.0: expected {INTEGER}"),
        ("dropout", {"low": -0.1, "high": 0.5}, f"dropout is -0.1: expected {SHARE}"),
        ("dropout", "1", f"dropout is 1.0: expected {SHARE}"),
        ("dropout", [math.nan], f"dropout is nan: expected {SHARE}"),
        ("dropout", "nan", f"dropout is 'nan': expected {SHARE}"),
        ("dropout", "0..inf", f"dropout is 'inf': expected {SHARE}"),
        ("learning_rate", 0, "learning_rate is 0: expected a number above 0 up to 1000"),
        ("learning_rate", "0..1", "learning_rate is 0.0: expected a number above 0 up to 1000"),
        ("direction", "left", f"direction is 'left': expected {WORDS}"),
        ("direction", [1], f"direction is 1: expected {WORDS}"),
        # other types
        ("layers", [True], f"layers is True: expected {INTEGER}"),
        ("layers", [[2]], f"layers is [2]: expected {INTEGER}"),
        ("layers", "two", f"layers is 'two': expected {INTEGER}"),
        ("layers", ["two"], f"layers is 'two': expected {INTEGER}"),
        ("dropout", "low..high", f"dropout is 'low': expected {SHARE}"),
        ("dropout", "0..", f"dropout is '': expected {SHARE}"),
        ("dropout", "0..1..2", f"dropout is '1..2': expected {SHARE}"),
        ("dropout", {"low": True, "high": 0.5}, f"dropout is 'True': expected {SHARE}"),
        # a range of words
        ("direction", "uni..bi", f"direction is 'uni': expected {WORDS}"),
        ("direction", "0..1", f"direction is '0': expected {WORDS}"),
        ("direction", {"low": 0, "high": 1}, f"direction is '0': expected {WORDS}"),
        # upside down
        ("layers", "3..2", f"layers from 3 to 2 is empty: {INTEGER}, low first"),
        ("dropout", {"low": 0.5, "high": 0}, f"dropout from 0.5 to 0 is empty: {SHARE}, low first"),
        # steps
        (
            "dropout",
            {"low": 0, "high": 0.5, "step": 0.2},
            "dropout from 0 to 0.5 has step 0.2: expected one that leads from the low end to the "
            "high end",
        ),
        (
            "layers",
            {"low": 1, "high": 2, "step": 0.5},
            "layers from 1 to 2 has step 0.5: expected one that leads from the low end to the "
            "high end",
        ),
        ("dropout", {"low": 0, "high": 0.5, "step": "x"}, f"dropout is 'x': expected {SHARE}"),
        # mappings
        (
            "dropout",
            {"low": 0, "hihg": 0.5},
            "dropout has 'hihg': did you mean 'high'? possible: low, high, step, scale",
        ),
        ("dropout", {"low": 0}, "dropout has no 'high': expected low and high"),
        ("dropout", {"high": 0.5}, "dropout has no 'low': expected low and high"),
        (
            "dropout",
            {"low": 0.1, "high": 0.5, "scale": "cubic"},
            "dropout has scale 'cubic': expected linear or log",
        ),
        (
            "dropout",
            {"low": 0, "high": 0.5, "scale": "log"},
            "dropout from 0 on a log scale: expected low above 0",
        ),
        # twice
        ("layers", "2,3,2", "layers lists 2 twice: expected each value once"),
        ("learning_rate", ["1e-1", 0.1], "learning_rate lists 0.1 twice: expected each value once"),
        ("direction", "uni,uni", "direction lists 'uni' twice: expected each value once"),
    ],
)
def test_a_refusal_names_the_place_and_what_is_possible(
    field: str, given: object, message: str
) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(f'a.yaml: {message}')}$"):
        parse(field, given, "a.yaml")


@pytest.mark.parametrize("dimension", [*LISTABLE, *CONTINUOUS], ids=str)
def test_what_a_dimension_describes_is_read_back(dimension: Any) -> None:
    assert parse(dimension.field, dimension.describe(), "here") == dimension


def test_a_range_describes_its_ends_step_and_scale() -> None:
    described = Range("layer_size", 32.0, 512.0, step=16.0, log=True).describe()
    assert str(described) == "{'low': 32, 'high': 512, 'step': 16, 'scale': 'log'}"


# at and between --------------------------------------------------------------------------------

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
    even = sorted(dimension.encode(dimension.decode(dimension.at(float(s)))) for s in shares)
    every = np.unique([*drawn, *even])
    apart = np.searchsorted(drawn, every, "right") - np.searchsorted(even, every, "right")
    assert np.max(np.abs(apart)) < 0.035 * DRAWS  # the distance of Kolmogorov and Smirnov


@given(dimension=any_dimension, share=part)
def test_every_share_stands_for_a_value(dimension: Dimension, share: float) -> None:
    assert dimension.decode(dimension.at(share)) in dimension


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
    first, last = (dimension.decode(dimension.at(share)) for share in (0.0, 1 - 1e-12))
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
    ends = [float(dimension.decode(dimension.at(part))) for part in sorted(shares)]
    kept = dimension.between(*ends)
    assert kept and all(end in kept for end in ends)
    drawn = kept.decode(kept.at(share))
    assert ends[0] <= float(drawn) <= ends[1]
    assert drawn in dimension


@given(dimension=st.sampled_from(LOG), shares=st.tuples(part, part), share=part)
def test_part_of_a_log_range_keeps_its_ends_and_adds_nothing(
    dimension: Range, shares: tuple[float, float], share: float
) -> None:
    check_between(dimension, shares, share)


def test_part_of_a_linear_range_adds_nothing() -> None:
    check_between(Range("learning_rate", 1e-5, 1.0), (0.01, 0.03), 0.23456)
