"""Dimensions are read from text, lists and mappings, and describe themselves so."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.spaces.dimension import Dimension, Listed, Range
from lstm_sweep.spaces.field_values import parse
from tests.unit.spaces.dimensions import CONTINUOUS, LISTABLE


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
        # ranges as they are written elsewhere
        ("dropout", "0.1-0.5", f"dropout is '0.1-0.5': expected {SHARE}; did you mean 0.1..0.5?"),
        (
            "dropout",
            "0.1 to 0.5",
            f"dropout is '0.1 to 0.5': expected {SHARE}; did you mean 0.1..0.5?",
        ),
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
