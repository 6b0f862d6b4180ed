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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lstm_sweep.models.config import LIMITS

Value = int | float | str

#: significant digits of a number drawn from a continuous range
DIGITS = 3


class Dimension(ABC):
    """Values of one field. A *raw* number is what Hyperopt draws for a value and stores.

    Raw numbers are uniform between the `ends`, which words, that have no order, lack.
    """

    field: str

    @property
    @abstractmethod
    def ends(self) -> tuple[float, float] | None:
        """Ends of the uniform distribution of raw numbers; None if values have no order."""

    def expression(self) -> Any:
        from hyperopt import hp

        return hp.uniform(self.field, *(self.ends or ()))

    def draw(self, rng: np.random.Generator) -> float:
        """Draw a raw number as Hyperopt's random search would."""
        return float(rng.uniform(*(self.ends or ())))

    def at(self, share: float) -> float:
        """Quantile of the raw numbers at `share`, 0 <= share < 1."""
        low, high = self.ends or (0.0, 1.0)
        return low + share * (high - low)

    def between(self, low: float, high: float) -> Dimension | None:
        """The values from `low` to `high`, both included; None if there are none."""
        return self

    @abstractmethod
    def decode(self, raw: float) -> Value:
        """Return the value of a raw number."""

    @abstractmethod
    def encode(self, value: Value) -> float:
        """Return a raw number of `value`."""

    def value_at(self, share: float) -> Value:
        """The value of the quantile at `share`, 0 <= share < 1: at 0.0 the lowest, or the first."""
        return self.decode(self.at(share))

    def values(self) -> list[Value] | None:
        """All values in order; None if the dimension is continuous."""
        return None

    @abstractmethod
    def describe(self) -> Any:
        """The dimension as written in a space file, readable by `space.parse_dimension`."""

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.decode(self.encode(value)) == value


@dataclass(frozen=True)
class Listed(Dimension):
    """Listed values: numbers in ascending order, or strings, which have no order."""

    field: str
    options: tuple[Value, ...]

    @property
    def ends(self) -> tuple[float, float] | None:
        return None if isinstance(self.options[0], str) else (-0.5, len(self.options) - 0.5)

    def expression(self) -> Any:
        from hyperopt import hp

        words = hp.choice(self.field, list(range(len(self.options))))
        return super().expression() if self.ends else words

    def draw(self, rng: np.random.Generator) -> float:
        return float(rng.integers(len(self.options)))

    def at(self, share: float) -> float:
        return float(int(share * len(self.options)))

    def between(self, low: float, high: float) -> Listed | None:
        kept = tuple(v for v in self.options if not isinstance(v, str) and low <= v <= high)
        return Listed(self.field, kept) if kept else None

    def decode(self, raw: float) -> Value:
        return self.options[min(max(math.floor(raw + 0.5), 0), len(self.options) - 1)]

    def encode(self, value: Value) -> float:
        return float(self.options.index(value))

    def values(self) -> list[Value]:
        return list(self.options)

    def describe(self) -> list[Value]:
        return list(self.options)

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
        return LIMITS[self.field].kind

    def _decimal_places(self) -> int:
        if self.places is not None:
            return self.places
        return DIGITS - 1 - math.floor(math.log10(self.high - self.low))

    @property
    def ends(self) -> tuple[float, float]:
        half = (self.step or 0) / 2
        low, high = self.low - half, self.high + half
        return (math.log(max(low, self.low / 2)), math.log(high)) if self.log else (low, high)

    def between(self, low: float, high: float) -> Dimension | None:
        low, high = max(low, self.low), min(high, self.high)
        if self.step:
            values = [float(v) for v in self.values() or [] if low <= float(v) <= high]
            low, high = (values[0], values[-1]) if values else (1, 0)
        if low > high:
            return None
        if low == high:
            return Listed(self.field, (self.kind(low),))
        return replace(self, low=low, high=high, places=self._decimal_places())

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

    def encode(self, value: Value) -> float:
        return math.log(float(value)) if self.log else float(value)

    def values(self) -> list[Value] | None:
        if not self.step:
            return None
        count = round((self.high - self.low) / self.step) + 1
        numbers = (clean(self.low + index * self.step) for index in range(count))
        return [self.kind(number) for number in numbers]

    def describe(self) -> Any:
        ends = {"low": self.low, "high": self.high} | ({"step": self.step} if self.step else {})
        written: dict[str, Value] = {name: self.kind(number) for name, number in ends.items()}
        return written | {"scale": "log" if self.log else "linear"}

    def __contains__(self, value: object) -> bool:
        inside = isinstance(value, int | float) and self.low <= value <= self.high
        return inside and super().__contains__(value)


def clean(number: float) -> float:
    """Round to 10 significant digits, so that 0.1 + 2 * 0.1 is 0.3; whole numbers stay."""
    return number if float(number).is_integer() else float(f"{number:.10g}")


#: what stands for such a dimension in a space file
AUTO = "auto"
#: training symbols below which a corpus is small
SMALL_CORPUS = 100_000


@dataclass(frozen=True)
class CorpusFacts:
    """What a dimension may depend on; the functions are asked only if it does."""

    #: training symbols
    symbols: int
    #: by how many symbols before it an n-gram model predicts the next one best
    order: Callable[[], int] = lambda: 1
    #: of labelled sequences, their number of symbols at equally spaced quantiles, ascending
    lengths: tuple[int, ...] = ()


class ByCorpus(Dimension):
    """A dimension that may become another one once the corpus is known; until then it is usual."""

    def describe(self) -> Any:
        return AUTO

    @abstractmethod
    def settled(self, facts: CorpusFacts) -> Dimension:
        """The dimension for a corpus."""

    @abstractmethod
    def may_be(self, other: Dimension | None) -> bool:
        """Whether it is `other`, or may have become that."""


@dataclass(frozen=True)
class RangeByCorpus(ByCorpus, Range):
    """Lengths of windows, which depend on the corpus.

    They go by ones in a small one, from as many symbols on as an n-gram model needs: of few symbols
    a network learns what is chance in them, the more the longer its windows are (docs/results.md).
    """

    @property
    def usual(self) -> Range:
        return Range(self.field, self.low, self.high, self.step, self.log)

    def between(self, low: float, high: float) -> Dimension | None:
        return self.usual.between(low, high)

    def settled(self, facts: CorpusFacts) -> Range:
        return self._short(facts.order()) if facts.symbols < SMALL_CORPUS else self.usual

    def may_be(self, other: Dimension | None) -> bool:
        also = isinstance(other, Range) and other == self._short(other.low)
        return also or other in (self, self.usual)

    def _short(self, low: float) -> Range:
        return replace(self.usual, low=min(low, self.low), step=1)


#: labelled sequences so long or shorter are read whole; of longer ones it is tried out how much
READ_WHOLE = 64
#: shares of the sequences that are read whole then
SHARES_READ_WHOLE = (0.5, 0.75, 0.9, 0.98)
#: symbols of a long sequence that are read, at most, and the fewest that are tried, about: steps in
#: time are dear, and a network forgets what it has read so long ago
MOST_READ, FEW_READ = 1_000, 250


@dataclass(frozen=True)
class ListedByLengths(ByCorpus, Listed):
    """Listed values that depend on the lengths of labelled sequences.

    Numbers are how many symbols are read, at most. Words say which part of longer sequences that
    is: they are the first alone where all are read whole.
    """

    def settled(self, facts: CorpusFacts) -> Listed:
        lengths = facts.lengths or (1,)
        at = [lengths[round(share * (len(lengths) - 1))] for share in SHARES_READ_WHOLE]
        read = sorted({rounded_up(min(length, MOST_READ)) for length in at})
        while read[0] >= 2 * FEW_READ:
            read.insert(0, read[0] // 2)
        if at[-1] <= READ_WHOLE:
            read = [lengths[-1]]
        if isinstance(self.options[0], str):
            return Listed(self.field, self.options[: None if read[0] < lengths[-1] else 1])
        return Listed(self.field, tuple(read))

    def may_be(self, other: Dimension | None) -> bool:
        return isinstance(other, Listed)


def rounded_up(length: int) -> int:
    """A length with two digits that are not 0, or the next one above it that has."""
    unit = int(10 ** max(0, len(str(length)) - 2))
    return -(-length // unit) * unit


#: what `auto` stands for, by field
BY_CORPUS: Mapping[str, Dimension] = {
    "layer_size": Range("layer_size", 32, 512, step=16, log=True),
    "sequence_length": RangeByCorpus("sequence_length", 20, 160, step=10, log=True),
}
#: the same in a space of networks that predict classes
CLASS_BY_CORPUS: Mapping[str, Dimension] = {
    **BY_CORPUS,
    "sequence_length": ListedByLengths("sequence_length", (100, 200, 400)),
    "keep": ListedByLengths("keep", ("head", "tail", "both")),
}
