"""`Dimension`: the values that one field of a config may take, and how they are drawn.

Hyperopt's own integer distributions are not used. With `quniform` and `uniformint` both ends are
half as likely as other values, steps of `quniform` do not start at the lower end, and TPE treats
`randint` as unordered. So every ordered dimension is a `uniform`, widened by half a step at both
ends, whose draws are rounded to the values of the dimension.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from typing_extensions import override

from lstm_sweep.models.config import LIMITS

Value = int | float | str

#: significant digits of a number drawn from a continuous range
DIGITS = 3


class Dimension(ABC):
    """Values of one field. A *raw* number is what Hyperopt draws for a value and stores."""

    field: str

    @abstractmethod
    def expression(self) -> Any:
        """The Hyperopt expression whose draws are raw numbers."""

    @property
    @abstractmethod
    def ends(self) -> tuple[float, float] | None:
        """Ends of the uniform distribution of raw numbers; None if values have no order."""

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> float:
        """Draw a raw number as Hyperopt's random search would."""

    @abstractmethod
    def at(self, share: float) -> float:
        """Quantile of the raw numbers at `share`, 0 <= share < 1."""

    @abstractmethod
    def between(self, low: float, high: float) -> Dimension | None:
        """The values from `low` to `high`, both included; None if there are none."""

    @abstractmethod
    def decode(self, raw: float) -> Value:
        """Return the value of a raw number."""

    @abstractmethod
    def encode(self, value: Value) -> float:
        """Return a raw number of `value`."""

    def value_at(self, share: float) -> Value:
        """The value of the quantile at `share`, 0 <= share < 1: at 0.0 the lowest, or the first."""
        return self.decode(self.at(share))

    def raw(self, number: float) -> float | int:
        """Convert a raw number to the type that Hyperopt draws."""
        return number

    @abstractmethod
    def values(self) -> list[Value] | None:
        """All values in order; None if the dimension is continuous."""

    @abstractmethod
    def describe(self) -> Any:
        """The dimension as written in a space file, readable by `space.parse_dimension`."""

    @abstractmethod
    def __contains__(self, value: object) -> bool: ...


@dataclass(frozen=True)
class Listed(Dimension):
    """Listed values: numbers in ascending order, or strings, which have no order."""

    field: str
    options: tuple[Value, ...]

    @property
    def ordered(self) -> bool:
        """Whether the values are numbers, so that TPE may generalize to neighbours."""
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
    """Numbers from `low` to `high`, both included, uniform on a linear or logarithmic scale.

    With a `step` they are low, low + step ...; without one they are continuous and rounded: on a
    logarithmic scale to `digits` significant digits, on a linear one to the decimal places that
    give the width of the range `DIGITS` significant digits.
    """

    field: str
    low: float
    high: float
    step: float | None = None
    log: bool = False
    #: decimal places of a continuous number on a linear scale; None: derived from the width
    places: int | None = dataclasses.field(default=None, compare=False)
    #: significant digits of a continuous number on a logarithmic scale
    digits: int = dataclasses.field(default=DIGITS, compare=False)

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
            number = float(f"{number:.{self.digits}g}")
        else:
            number = round(number, self._decimal_places())
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
    """Round to 10 significant digits, so that 0.1 + 2 * 0.1 is 0.3; whole numbers stay."""
    return number if float(number).is_integer() else float(f"{number:.10g}")


#: what stands for such a range in a space file
AUTO = "auto"
#: training symbols below which a corpus is small
SMALL_CORPUS = 100_000


@dataclass(frozen=True)
class CorpusFacts:
    """What a range may depend on; the functions are asked only if it does."""

    #: training symbols
    symbols: int
    #: by how many symbols before it an n-gram model predicts the next one best
    order: Callable[[], int]
    #: whether layers of so many units suit the corpus and the time of the sweep
    has_room: Callable[[int], bool] = lambda units: False


@dataclass(frozen=True)
class ByCorpus(Range):
    """A range that may become another one once the corpus is known; until then it is the usual."""

    @property
    def usual(self) -> Range:
        """The usual range."""
        return Range(self.field, self.low, self.high, self.step, self.log)

    @override
    def describe(self) -> Any:
        return AUTO

    @override
    def between(self, low: float, high: float) -> Dimension | None:
        return self.usual.between(low, high)

    @abstractmethod
    def settled(self, facts: CorpusFacts) -> Range:
        """The range for a corpus."""

    @abstractmethod
    def may_be(self, other: Dimension | None) -> bool:
        """Whether it is `other`, or may have become that."""


@dataclass(frozen=True)
class Windows(ByCorpus):
    """Windows, which may be short in a corpus of fewer than `SMALL_CORPUS` training symbols.

    There the range goes by ones, from as many symbols on as an n-gram model needs. Of few symbols a
    network learns what is chance in them, the more the longer its windows are
    (docs/results.md).
    """

    @override
    def settled(self, facts: CorpusFacts) -> Range:
        return self._from(facts.order()) if facts.symbols < SMALL_CORPUS else self.usual

    def _from(self, low: float) -> Range:
        return Range(self.field, min(low, self.low), self.high, 1, self.log)

    @override
    def may_be(self, other: Dimension | None) -> bool:
        if isinstance(other, Range) and other.low < self.low:
            return other == self._from(other.low)
        return other in (self, self.usual)


@dataclass(frozen=True)
class LayerSizes(ByCorpus):
    """Sizes of layers, up to `most` units where there is room for so many."""

    most: int = 0

    @property
    def wide(self) -> Range:
        """The range where there is room."""
        return Range(self.field, self.low, self.most, self.step, self.log)

    @override
    def settled(self, facts: CorpusFacts) -> Range:
        return self.wide if facts.has_room(self.most) else self.usual

    @override
    def may_be(self, other: Dimension | None) -> bool:
        return other in (self, self.usual, self.wide)


#: what `auto` stands for, by field
BY_CORPUS: dict[str, ByCorpus] = {
    "layer_size": LayerSizes("layer_size", 32, 512, step=16, log=True, most=1024),
    "sequence_length": Windows("sequence_length", 20, 160, step=10, log=True),
}
