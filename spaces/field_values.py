"""Reads the values of one field, as users write them, into a `Dimension`."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from lstm_sweep.models.config import LIMITS
from lstm_sweep.models.errors import InputError, one_of, shown
from lstm_sweep.spaces.by_corpus import AUTO, BY_CORPUS
from lstm_sweep.spaces.dimension import Dimension, Listed, Range

#: largest number of steps of a range
MOST_STEPS = 100_000
#: a range as it is written elsewhere, such as 64-128 or 0.1:0.5
BETWEEN = re.compile(r"([0-9.]+(?:e-?[0-9]+)?) *(?:-|:|–|—|to) *([0-9.]+(?:e-?[0-9]+)?)")
RANGE_KEYS = ("low", "high", "step", "scale")
SCALES = ("linear", "log")


def parse(field: str, given: object, where: str) -> Dimension:
    """Read a value, a list, `low..high`, a mapping with `low` and `high`, or `auto`.

    In a string, values of a list are separated by commas. `where` begins the message of an error.

    Raises:
        InputError: there is no value, or one is outside the limits of the field.
    """
    if isinstance(given, str) and given.strip() == AUTO and field in BY_CORPUS:
        return BY_CORPUS[field]
    try:
        if isinstance(given, Mapping):
            return _range_from_mapping(field, given)
        if isinstance(given, str) and ".." in given:
            low, _, high = given.partition("..")
            return _range(field, _number(field, low), _number(field, high))
        if isinstance(given, str):
            given = [part.strip() for part in given.split(",") if part.strip()]
        return _listed(field, given if isinstance(given, list | tuple) else [given])
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _listed(field: str, given: Sequence[object]) -> Listed:
    limit = LIMITS[field]
    if not given:
        raise InputError(f"{field} has no values: expected {limit}")
    values = [limit.check(field, _typed(field, value)) for value in given]
    if twice := [value for value, count in Counter(values).items() if count > 1]:
        raise InputError(f"{field} lists {twice[0]!r} twice: expected each value once")
    return Listed(field, tuple(values if limit.kind is str else sorted(values)))


def _typed(field: str, value: object) -> object:
    if not isinstance(value, str) or LIMITS[field].kind is str:
        return value
    return _number(field, value)


def _number(field: str, text: str) -> float:
    limit = LIMITS[field]
    try:
        number = float(text)
    except ValueError:
        ends = BETWEEN.fullmatch(text.strip())
        hint = f"; did you mean {ends[1]}..{ends[2]}?" if ends and limit.kind is not str else ""
        raise InputError(f"{field} is {shown(text.strip())}: expected {limit}{hint}") from None
    if not math.isfinite(number) or limit.kind is str:
        raise InputError(f"{field} is {shown(text.strip())}: expected {limit}")
    return number


def _text(value: object) -> str:
    return value if isinstance(value, str) else shown(value)


def _range_from_mapping(field: str, given: Mapping[object, object]) -> Dimension:
    for key in given:
        if key not in RANGE_KEYS:
            raise InputError(f"{field} has {shown(key)}: {one_of(key, RANGE_KEYS)}")
    if missing := [key for key in ("low", "high") if key not in given]:
        raise InputError(f"{field} has no '{missing[0]}': expected low and high")
    low, high = (_number(field, _text(given[key])) for key in ("low", "high"))
    step = _number(field, _text(given["step"])) if "step" in given else None
    scale = given.get("scale")
    if scale is not None and scale not in SCALES:
        raise InputError(f"{field} has scale {shown(scale)}: expected {' or '.join(SCALES)}")
    return _range(field, low, high, step, scale)


def _range(
    field: str, low: float, high: float, step: float | None = None, scale: object = None
) -> Dimension:
    limit = LIMITS[field]
    if limit.kind is str:
        raise InputError(f"{field} is a range: expected {limit}")
    if low > high:
        raise InputError(f"{field} from {low:g} to {high:g} is empty: {limit}, low first")
    low, high = (float(limit.check(field, number)) for number in (low, high))
    if low == high:
        return _listed(field, [low])
    if step is None and limit.kind is int:
        step = 1.0
    if step is not None:
        step = _checked_step(field, low, high, step)
    log = scale == "log" or (scale is None and limit.ratio)
    if log and low <= 0:
        raise InputError(f"{field} from {low:g} on a log scale: expected low above 0")
    return Range(field, low, high, step, log)


def _checked_step(field: str, low: float, high: float, step: float) -> float:
    steps = (high - low) / step if step > 0 else 0.0
    whole = LIMITS[field].kind is float or step == int(step)
    fits = math.isfinite(steps) and round(steps) >= 1 and abs(steps - round(steps)) < 1e-9
    if not (whole and fits):
        raise InputError(
            f"{field} from {low:g} to {high:g} has step {step:g}: expected one that leads from "
            f"the low end to the high end"
        )
    if steps > MOST_STEPS:
        raise InputError(
            f"{field} from {low:g} to {high:g} has step {step:g}: expected at most "
            f"{MOST_STEPS:,} steps"
        )
    return step
