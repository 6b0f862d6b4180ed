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


@given(configs)
def test_a_config_survives_a_round_trip_through_plain_values(fields: dict[str, Any]) -> None:
    config = TrialConfig.from_dict(fields)
    assert config.to_dict() == fields
    assert TrialConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("direction", "both", "expected one of uni, bi"),
        ("direction", 1, "expected one of uni, bi"),
        ("optimizer", ["adam"], f"expected one of {', '.join(OPTIMIZERS)}"),
        ("learning_rate", 0, "expected a number above 0 up to 1000"),
        ("learning_rate", math.nan, "expected a number above 0 up to 1000"),
        ("learning_rate", math.inf, "expected a number above 0 up to 1000"),
        # a number in quotes, as YAML gives for 1e-3
        ("learning_rate", "1e-3", "expected a number above 0 up to 1000"),
        ("dropout", 1.0, "expected a number from 0 to 0.99"),
        ("layers", 17, "expected an integer from 1 to 16"),
        ("layers", math.nan, "expected an integer from 1 to 16"),
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
def test_a_number_lies_between_its_bounds(field: str) -> None:
    limit = LIMITS[field]
    allowed = [limit.low, limit.high] if limit.low_included else [limit.high]
    for value in allowed:
        assert TrialConfig.from_dict({field: value}).to_dict()[field] == value
    for other in (limit.low - 1e-3, limit.high + 1e-3, True):
        with pytest.raises(InputError, match=f"^{field} is .*: expected "):
            TrialConfig.from_dict({field: other})


@pytest.mark.parametrize("field", INTEGERS)
def test_an_integer_may_be_a_whole_float_but_no_fraction(field: str) -> None:
    value = TrialConfig.from_dict({field: 2.0}).to_dict()[field]
    assert (value, type(value)) == (2, int)
    with pytest.raises(InputError, match=rf"^{field} is 2\.5: expected an integer "):
        TrialConfig.from_dict({field: 2.5})


def test_an_unknown_field_is_refused_with_the_nearest_and_all_that_are_possible() -> None:
    with pytest.raises(InputError, match=r"is no field .* mean 'sequence_length'") as refusal:
        TrialConfig.from_dict({"seq_length": 1})
    assert str(refusal.value).endswith(f"possible: {', '.join(FIELDS)}")


@pytest.mark.parametrize(
    ("direction", "length", "stride", "expected"),
    [
        # 0 stands for the default: one window for uni
        ("uni", 40, 0, 40),
        # an eighth of it for bi, rounded down, but never 0
        ("bi", 47, 0, 5),
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
