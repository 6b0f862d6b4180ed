"""Tables of what `replay.py` finds: one for each recording, and the ratios of all."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

#: seconds below which their tenths are printed
SHORT = 100.0
#: width of the names of policies, and of a column of ratios
NAME, COLUMN = 34, 12


@dataclass(frozen=True)
class Row:
    """What a policy took on one recording: seconds, infinite if it never came to the target."""

    name: str
    lower: float
    median: float
    upper: float
    #: median number of trials begun
    trials: float

    @classmethod
    def of(cls, name: str, results: Sequence[tuple[float, int]]) -> Self:
        """Median and quartiles of the seconds of sweeps; `results` are pairs with their trials."""
        lower, median, upper = quartiles([seconds for seconds, _ in results])
        return cls(name, lower, median, upper, statistics.median(count for _, count in results))


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile; infinite where the values beside it are."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    finite = [value for value in values if math.isfinite(value)]
    large = 2 * max(finite, default=0.0) + 1
    found = statistics.quantiles([min(value, large) for value in values], n=4)
    top = max(finite, default=-math.inf)
    lower, median, upper = (value if value <= top else math.inf for value in found)
    return lower, median, upper


def heading() -> str:
    """Names of the columns of `line`."""
    return f"{'policy':<{NAME}}{'quartile':>9}{'median':>9}{'quartile':>9}{'trials':>8}{'ratio':>8}"


def line(row: Row, first: Row) -> str:
    """Seconds of a policy on a recording, and the ratio of its median to that of the first."""
    found = (row.lower, row.median, row.upper)
    seconds = "".join(f"{value:>9.{1 if value < SHORT else 0}f}" for value in found)
    return f"{row.name:<{NAME}}{seconds}{row.trials:>8.0f}{_text(_ratio(row, first)):>8}"


def summary(found: Mapping[str, Sequence[Row]]) -> str:
    """Ratio of each policy's median to that of the first policy, on each recording.

    The last column is their geometric mean.
    """
    first = next(iter(found.values()))
    lines = [f"median time, as a share of that of: {first[0].name}"]
    widths = [max(COLUMN, len(name) + 2) for name in found]
    names = "".join(f"{name:>{width}}" for name, width in zip(found, widths, strict=True))
    lines.append(f"{'policy':<{NAME}}{names}{'mean':>{COLUMN}}")
    for number, row in enumerate(first):
        ratios = [_ratio(rows[number], rows[0]) for rows in found.values()]
        cells = "".join(f"{_text(r):>{w}}" for r, w in zip(ratios, widths, strict=True))
        lines.append(f"{row.name:<{NAME}}{cells}{_text(_mean(ratios)):>{COLUMN}}")
    return "\n".join(lines)


def _ratio(row: Row, first: Row) -> float | None:
    """None if the first never came to the target."""
    return row.median / first.median if math.isfinite(first.median) else None


def _mean(ratios: Sequence[float | None]) -> float | None:
    known = [ratio for ratio in ratios if ratio is not None]
    if len(known) < len(ratios) or not all(map(math.isfinite, known)):
        return None
    return statistics.geometric_mean(known)


def _text(ratio: float | None) -> str:
    if ratio is None:
        return "-"
    return f"{ratio:.2f}" if math.isfinite(ratio) else "never"
