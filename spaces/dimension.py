"""One field of a config and the values it may take, as Hyperopt draws them and as users write them.

Hyperopt's `quniform`, `uniformint` and `randint` do not draw what one would think: the ends of the
first two are half as likely as the rest, a step is not anchored at the lower end, and the last has
no order. So every ordered dimension here is a `uniform` over the real line, widened by half a step
at both ends, and rounded on the way to `TrialConfig`.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from typing_extensions import override

from models.config import LIMITS
from models.errors import InputError, one_of, shown

Value = int | float | str

#: significant digits of a number drawn from a continuous range
DIGITS = 3
#: steps of a range, at most
MOST_STEPS = 100_000


class Dimension(ABC):
    """Values of one field. *Raw* is the number that Hyperopt draws and remembers."""

    field: str

    @abstractmethod
    def expression(self) -> Any:
        """The Hyperopt expression whose draws are raw numbers."""

    @property
    @abstractmethod
    def ends(self) -> tuple[float, float] | None:
        """Ends of the raw numbers, which are evenly spread between them; None for words."""

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> float:
        """Draw a raw number as Hyperopt's random search would."""

    @abstractmethod
    def at(self, share: float) -> float:
        """Raw number below which a share of the draws lies, 0 <= share < 1."""

    @abstractmethod
    def between(self, low: float, high: float) -> Dimension | None:
        """The values from `low` to `high`, both included; None if there are none."""

    @abstractmethod
    def decode(self, raw: float) -> Value:
        """Value that a raw number stands for."""

    @abstractmethod
    def encode(self, value: Value) -> float:
        """Raw number that stands for `value`."""

    def raw(self, number: float) -> float | int:
        """A raw number in the type that Hyperopt draws it in."""
        return number

    @abstractmethod
    def values(self) -> list[Value] | None:
        """All values in order; None if there are too many to list."""

    @abstractmethod
    def describe(self) -> Any:
        """The dimension as it is written in a space file; `parse` reads it back."""

    @abstractmethod
    def __contains__(self, value: object) -> bool: ...


@dataclass(frozen=True)
class Listed(Dimension):
    """Listed values: numbers in rising order, or words, which have none."""

    field: str
    options: tuple[Value, ...]

    @property
    def ordered(self) -> bool:
        """Whether neighbours in the list are alike, so that TPE may learn from them."""
        return not isinstance(self.options[0], str)

    @override
    def expression(self) -> Any:
        from hyperopt import hp

        if self.ends:
            return hp.uniform(self.field, *self.ends)
        return hp.choice(self.field, list(range(len(self.options))))

    @property
    @override
    def ends(self) -> tuple[float, float] | None:
        return (-0.5, len(self.options) - 0.5) if self.ordered else None

    @override
    def draw(self, rng: np.random.Generator) -> float:
        return float(rng.integers(len(self.options)))

    @override
    def at(self, share: float) -> float:
        return float(int(share * len(self.options)))

    @override
    def between(self, low: float, high: float) -> Listed | None:
        kept = tuple(v for v in self.options if not isinstance(v, str) and low <= v <= high)
        return Listed(self.field, kept) if kept else None

    @override
    def decode(self, raw: float) -> Value:
        return self.options[min(max(math.floor(raw + 0.5), 0), len(self.options) - 1)]

    @override
    def encode(self, value: Value) -> float:
        return float(self.options.index(value))

    @override
    def raw(self, number: float) -> float | int:
        return number if self.ordered else int(number)

    @override
    def values(self) -> list[Value]:
        return list(self.options)

    @override
    def describe(self) -> list[Value]:
        return list(self.options)

    @override
    def __contains__(self, value: object) -> bool:
        return value in self.options


@dataclass(frozen=True)
class Range(Dimension):
    """Numbers from `low` to `high`, both included, evenly spread on a linear or log scale.

    With a `step` they are low, low + step ...; without one they are continuous and rounded to
    `DIGITS` digits: of the number on a log scale, of the width of the range on a linear one.
    """

    field: str
    low: float
    high: float
    step: float | None = None
    log: bool = False
    #: decimal places of a continuous number on a linear scale; None: as the width has it
    places: int | None = dataclasses.field(default=None, compare=False)

    @property
    def kind(self) -> type[int] | type[float] | type[str]:
        """Type of the numbers."""
        return LIMITS[self.field].kind

    def _decimal_places(self) -> int:
        if self.places is not None:
            return self.places
        return DIGITS - 1 - math.floor(math.log10(self.high - self.low))

    @property
    @override
    def ends(self) -> tuple[float, float]:
        half = (self.step or 0) / 2
        low, high = self.low - half, self.high + half
        return (math.log(max(low, self.low / 2)), math.log(high)) if self.log else (low, high)

    @override
    def expression(self) -> Any:
        from hyperopt import hp

        return hp.uniform(self.field, *self.ends)

    @override
    def draw(self, rng: np.random.Generator) -> float:
        return float(rng.uniform(*self.ends))

    @override
    def at(self, share: float) -> float:
        low, high = self.ends
        return low + share * (high - low)

    @override
    def between(self, low: float, high: float) -> Dimension | None:
        low, high = max(low, self.low), min(high, self.high)
        if self.step:
            values = [v for v in self.values() or [] if low <= float(v) <= high]
            if not values:
                return None
            low, high = float(values[0]), float(values[-1])
        if low > high:
            return None
        if low == high:
            return Listed(self.field, (self.kind(low),))
        return replace(self, low=low, high=high, places=self._decimal_places())

    @override
    def decode(self, raw: float) -> Value:
        number = math.exp(raw) if self.log else raw
        if self.step:
            number = clean(self.low + round((number - self.low) / self.step) * self.step)
        elif self.log:
            number = float(f"{number:.{DIGITS}g}")
        else:
            number = round(number, self._decimal_places())
        number = round(number, 10) if self.step else number
        number = min(max(number, self.low), self.high)
        return self.kind(number)

    @override
    def encode(self, value: Value) -> float:
        return math.log(float(value)) if self.log else float(value)

    @override
    def values(self) -> list[Value] | None:
        if not self.step:
            return None
        count = round((self.high - self.low) / self.step) + 1
        numbers = (clean(self.low + index * self.step) for index in range(count))
        return [self.kind(number) for number in numbers]

    @override
    def describe(self) -> dict[str, Value]:
        kind = self.kind
        written: dict[str, Value] = {"low": kind(self.low), "high": kind(self.high)}
        if self.step:
            written["step"] = kind(self.step)
        return written | {"scale": "log" if self.log else "linear"}

    @override
    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.low <= value <= self.high and self.decode(self.encode(value)) == value


def clean(number: float) -> float:
    """Take the traces of binary arithmetic off: 0.1 + 2 * 0.1 is 0.3."""
    return float(f"{number:.10g}")


def parse(field: str, given: object, where: str) -> Dimension:
    """Read the values of one field: a value, a list, `low..high`, or a mapping with `low`, `high`.

    As text, a list is separated by commas. `where` names the place for errors.

    Raises:
        InputError: no value is left, or one lies outside the field's limits.
    """
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
        raise InputError(f"{field} is {shown(text.strip())}: expected {limit}") from None
    if not math.isfinite(number) or limit.kind is str:
        raise InputError(f"{field} is {shown(text.strip())}: expected {limit}")
    return number


def _text(value: object) -> str:
    return value if isinstance(value, str) else shown(value)


RANGE_KEYS = ("low", "high", "step", "scale")
SCALES = ("linear", "log")


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
