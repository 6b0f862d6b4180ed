"""Scales of drawings: from a value to its place, and which values are written at an axis."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: steps between two ticks, times a power of ten
STEPS = (1, 2, 5, 10)
#: share of its length that a linear scale has to spare at both ends
SPARE = 0.04
#: numbers that are nearer to 0 have no logarithm that is worth a tick, and those beyond the inverse
#: of it overflow
SMALLEST = 1e-300


@dataclass(frozen=True)
class Scale:
    """Places in px from `begin` to `end` for values from `low` to `high`, which are finite."""

    low: float
    high: float
    begin: float
    end: float
    log: bool = False
    #: whether only whole numbers are written at its axis
    whole_ticks: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value; of one outside, the nearer end."""
        value = min(max(value, self.low), self.high)
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            share = (math.log(value) - low) / (high - low)
        else:  # halves, as the difference of two large numbers may overflow
            share = (value / 2 - self.low / 2) / (self.high / 2 - self.low / 2)
        return self.begin + share * (self.end - self.begin)

    def ticks(self, most: int) -> list[float]:
        """Round values within the scale, `most` at most, and at least 2 where that can be."""
        found = self._log_ticks(most) if self.log else self._linear_ticks(most)
        whole = [one for one in found if one == round(one)]
        return whole if self.whole_ticks and len(whole) > 1 else found

    def _linear_ticks(self, most: int) -> list[float]:
        span = self.high / most - self.low / most
        if span < SMALLEST:
            return [self.low, self.high]
        power = 10.0 ** math.floor(math.log10(span))
        step = next(one * power for one in STEPS if one * power >= span * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        if not (math.isfinite(step) and last - first < 10 * most):
            return [self.low, self.high]
        return [float(f"{number * step:.10g}") for number in range(first, last + 1)]

    def _log_ticks(self, most: int) -> list[float]:
        low, high = math.log10(self.low), math.log10(self.high)
        powers = range(math.floor(low), math.ceil(high) + 1)
        found: list[float] = []
        for digits in ((1, 2, 5), (1, 3), (1,)):
            found = [digit * 10.0**power for power in powers for digit in digits]
            found = [one for one in found if self.low * 0.999 <= one <= self.high * 1.001]
            if len(found) <= most:
                return found if len(found) > 1 else self._linear_ticks(most)
        return found[:: math.ceil(len(found) / most)]


def scale(
    values: Iterable[float],
    begin: float,
    end: float,
    *,
    log: bool = False,
    whole: bool = False,
) -> Scale | None:
    """A scale that all finite values fit into; None if there are none.

    On a logarithmic one only values above 0 count. `whole` leaves nothing to spare at the ends.
    """
    known = [one for one in values if math.isfinite(one) and (one >= SMALLEST or not log)]
    if not known:
        return None
    low, high = min(known), max(known)
    if log:
        spare = 1.0 if whole else math.exp(SPARE * (math.log(high) - math.log(low)))
        low, high = max(low / spare, SMALLEST), _finite(high * spare)
        if high < 1.001 * low:
            low, high = max(low / 2, SMALLEST), _finite(high * 2)
        return Scale(low, high, begin, end, log=True)
    spare = 0.0 if whole else SPARE * (high - low)
    low, high = _finite(low - spare), _finite(high + spare)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        half = max(abs(low) * 0.05, 0.5 if low == 0 else 1e-300)
        low, high = low - half, high + half
    return Scale(low, high, begin, end)


def within(values: Sequence[float], always: Iterable[float] = ()) -> list[float]:
    """Values that decide how far a scale reaches: without those far above the others.

    A single trial whose loss is a thousand times that of the others would leave nothing to see of
    them. Far above is 3 times the distance of the quartiles above the third one. `always` are
    values that are kept.
    """
    known = sorted(one for one in values if math.isfinite(one))
    kept = [one for one in always if math.isfinite(one)]
    if len(known) < 4:
        return known + kept
    first, _, third = statistics.quantiles(known, n=4, method="inclusive")
    most = max([third + 3 * (third - first), *kept])
    return [one for one in known if one <= most] + kept


def short(value: float) -> str:
    """A number for an axis or a label: `0.001`, `1e-5`, `25k`, `1.5M`."""
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    for least, letter in ((1e12, ""), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= least:
            if not letter:
                break
            return f"{value / {'G': 1e9, 'M': 1e6, 'k': 1e3}[letter]:.4g}{letter}"
    digits = f"{value:.6g}"
    mantissa, exponent, power = digits.partition("e")
    return f"{mantissa}e{int(power)}" if exponent else digits


def _finite(value: float) -> float:
    return min(max(value, -1e300), 1e300)
