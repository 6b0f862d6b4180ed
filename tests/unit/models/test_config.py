from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.config import FIELDS, LIMITS, OPTIMIZERS, Limit, TrialConfig
from lstm_sweep.models.errors import InputError

NUMBERS = [name for name, limit in LIMITS.items() if not limit.choices]
INTEGERS = [name for name in NUMBERS if LIMITS[name].kind is int]


def values(limit: Limit) -> st.SearchStrategy[Any]:
    if limit.choices:
        return st.sampled_from(limit.choices)
    if limit.kind is int:
        return st.integers(int(limit.low), int(limit.high))
    return st.floats(limit.low, limit.high, exclude_min=not limit.low_included)


configs = st.fixed_dictionaries({name: values(limit) for name, limit in LIMITS.items()})


def test_every_field_has_a_limit() -> None:
    assert tuple(LIMITS) == FIELDS


@given(configs)
def test_a_config_survives_a_round_trip_through_plain_values(fields: dict[str, Any]) -> None:
    config = TrialConfig.from_dict(fields)
    assert config.to_dict() == fields
    assert TrialConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        # a word that is none of the choices
        ("direction", "both", "expected one of uni, bi"),
        ("offset", "none", "expected one of random, fixed"),
        ("optimizer", "steepest", f"expected one of {', '.join(OPTIMIZERS)}"),
        # another type where a word is expected
        ("direction", 1, "expected one of uni, bi"),
        ("optimizer", ["adam"], f"expected one of {', '.join(OPTIMIZERS)}"),
        # just below the lower bound
        ("learning_rate", 0, "expected a number above 0 up to 1000"),
        ("learning_rate", -1e-9, "expected a number above 0 up to 1000"),
        ("dropout", -0.01, "expected a number from 0 to 0.99"),
        ("layers", 0, "expected an integer from 1 to 16"),
        ("layer_size", 0, "expected an integer from 1 to 16384"),
        ("sequence_length", 0, "expected an integer from 1 to 10000"),
        ("batch_size", 0, "expected an integer from 1 to 65536"),
        ("stride", -1, "expected an integer from 0 to 10000"),
        ("embedding_size", -1, "expected an integer from 0 to 16384"),
        ("epochs", 0, "expected an integer from 1 to 100000"),
        # just above the upper bound
        ("learning_rate", 1000.1, "expected a number above 0 up to 1000"),
        ("dropout", 1.0, "expected a number from 0 to 0.99"),
        ("layers", 17, "expected an integer from 1 to 16"),
        ("layer_size", 16385, "expected an integer from 1 to 16384"),
        ("sequence_length", 10001, "expected an integer from 1 to 10000"),
        ("batch_size", 65537, "expected an integer from 1 to 65536"),
        ("stride", 10001, "expected an integer from 0 to 10000"),
        ("embedding_size", 16385, "expected an integer from 0 to 16384"),
        ("epochs", 100001, "expected an integer from 1 to 100000"),
        # not finite
        ("learning_rate", math.nan, "expected a number above 0 up to 1000"),
        ("learning_rate", math.inf, "expected a number above 0 up to 1000"),
        ("layers", math.nan, "expected an integer from 1 to 16"),
        ("layers", math.inf, "expected an integer from 1 to 16"),
        # a number in quotes, as YAML gives for 1e-3
        ("learning_rate", "1e-3", "expected a number above 0 up to 1000"),
        ("layers", None, "expected an integer from 1 to 16"),
    ],
)
def test_a_wrong_value_is_refused_with_its_field_and_what_is_expected(
    field: str, value: object, expected: str
) -> None:
    with pytest.raises(InputError) as refusal:
        TrialConfig.from_dict({field: value})
    assert str(refusal.value) == f"{field} is {value!r}: {expected}"


@pytest.mark.parametrize("field", NUMBERS)
def test_a_boolean_is_no_number(field: str) -> None:
    with pytest.raises(InputError, match=f"^{field} is True: expected "):
        TrialConfig.from_dict({field: True})


@pytest.mark.parametrize("field", INTEGERS)
def test_a_fraction_is_no_integer(field: str) -> None:
    with pytest.raises(InputError, match=rf"^{field} is 2\.5: expected an integer "):
        TrialConfig.from_dict({field: 2.5})


@pytest.mark.parametrize("field", INTEGERS)
def test_a_whole_float_becomes_an_integer(field: str) -> None:
    value = TrialConfig.from_dict({field: 2.0}).to_dict()[field]
    assert (value, type(value)) == (2, int)


def test_a_whole_learning_rate_becomes_a_float() -> None:
    value = TrialConfig(learning_rate=10).learning_rate
    assert (value, type(value)) == (10.0, float)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (name, bound)
        for name in NUMBERS
        for bound in (LIMITS[name].low, LIMITS[name].high)
        if LIMITS[name].low_included or bound > LIMITS[name].low
    ],
)
def test_an_included_bound_is_allowed(field: str, value: float) -> None:
    assert TrialConfig.from_dict({field: value}).to_dict()[field] == value


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("layer", "layers"),
        ("learningrate", "learning_rate"),
        ("batchsize", "batch_size"),
        ("seq_length", "sequence_length"),
        ("drop_out", "dropout"),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(InputError) as refusal:
        TrialConfig.from_dict({name: 1})
    assert f"'{name}' is no field" in str(refusal.value)
    assert f"did you mean '{nearest}'?" in str(refusal.value)


def test_an_unknown_field_like_no_other_is_refused_with_all_that_are_possible() -> None:
    with pytest.raises(InputError) as refusal:
        TrialConfig.from_dict({"zzz": 1})
    assert "did you mean" not in str(refusal.value)
    assert str(refusal.value).endswith(f"possible: {', '.join(FIELDS)}")


@pytest.mark.parametrize(
    ("direction", "length", "stride", "expected"),
    [
        # 0 stands for the default: one window for uni
        ("uni", 40, 0, 40),
        ("uni", 1, 0, 1),
        # an eighth of it for bi, rounded down, but never 0
        ("bi", 40, 0, 5),
        ("bi", 47, 0, 5),
        ("bi", 8, 0, 1),
        ("bi", 7, 0, 1),
        # a given stride holds for both
        ("uni", 40, 3, 3),
        ("bi", 40, 90, 90),
    ],
)
def test_the_window_stride_follows_direction_and_length_unless_given(
    direction: str, length: int, stride: int, expected: int
) -> None:
    config = TrialConfig(direction=direction, sequence_length=length, stride=stride)
    assert config.window_stride == expected


def test_evolve_changes_only_what_it_is_told() -> None:
    config = TrialConfig(layers=3, dropout=0.25)
    changed = config.evolve(layers=5)
    assert changed.to_dict() == config.to_dict() | {"layers": 5}
    assert config.layers == 3


def test_evolve_refuses_a_wrong_value() -> None:
    with pytest.raises(InputError, match=r"^layers is 99: expected an integer from 1 to 16$"):
        TrialConfig().evolve(layers=99)


def test_evolve_refuses_an_unknown_field() -> None:
    with pytest.raises(InputError, match="'layerz' is no field of a config: did you mean 'layers'"):
        TrialConfig().evolve(layerz=2)
