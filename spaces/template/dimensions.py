"""Dimensions that only templates have: numbers without a field's limits, normal, weighted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from typing_extensions import override

from lstm_sweep.spaces.dimension import DIGITS, Dimension, Listed, Range, Value, clean

#: share of the draws of a normal distribution that is cut off at each side
TAIL = 1e-6


@dataclass(frozen=True)
class Numbers(Range):
    """A range whose numbers are integers if its step and lower end are."""

    @property
    @override
    def kind(self) -> type[int] | type[float]:
        return number_type(self.step, self.low)


@dataclass(frozen=True)
class Normal(Dimension):
    """A normal distribution, or with `log` a lognormal one.

    The raw number of a value is the cumulative probability up to it. Values are rounded to
    multiples of `step`, or without one to `DIGITS` significant digits.
    """

    field: str
    mu: float
    sigma: float
    step: float | None = None
    log: bool = False

    @override
    def expression(self) -> Any:
        from hyperopt import hp

        return hp.uniform(self.field, *self.ends)

    @property
    @override
    def ends(self) -> tuple[float, float]:
        return (0.0, 1.0)

    @override
    def draw(self, rng: np.random.Generator) -> float:
        return float(rng.uniform())

    @override
    def at(self, share: float) -> float:
        return share

    @override
    def between(self, low: float, high: float) -> Dimension | None:
        return self  # it has no ends

    @override
    def decode(self, raw: float) -> Value:
        number = NormalDist(self.mu, self.sigma).inv_cdf(min(max(raw, TAIL), 1 - TAIL))
        number = math.exp(number) if self.log else number
        if self.step:
            number = clean(round(number / self.step) * self.step)
        else:
            number = float(f"{number:.{DIGITS}g}")
        return number_type(self.step)(number)

    @override
    def encode(self, value: Value) -> float:
        number = float(value)
        if self.log:
            number = math.log(number) if number > 0 else -math.inf
        return NormalDist(self.mu, self.sigma).cdf(number)

    @override
    def values(self) -> list[Value] | None:
        return None

    @override
    def describe(self) -> dict[str, Value]:
        written: dict[str, Value] = {"mu": self.mu, "sigma": self.sigma}
        if self.step:
            written["step"] = self.step
        return written | {"scale": "log" if self.log else "linear"}

    @override
    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.decode(self.encode(value)) == value


@dataclass(frozen=True)
class Weighted(Listed):
    """Unordered options with unequal probabilities."""

    #: probability of each option
    weights: tuple[float, ...] = ()

    @override
    def expression(self) -> Any:
        from hyperopt import hp

        return hp.pchoice(self.field, [(weight, i) for i, weight in enumerate(self.weights)])

    @override
    def draw(self, rng: np.random.Generator) -> float:
        return float(rng.choice(len(self.options), p=self.weights))

    @override
    def at(self, share: float) -> float:
        below = np.cumsum(self.weights)[:-1]
        return float(np.searchsorted(below, share, side="right"))


def number_type(step: float | None, low: float = 0.0) -> type[int] | type[float]:
    """`int` if `low` and the step are whole numbers, else `float`."""
    return int if step and step == int(step) and low == int(low) else float
