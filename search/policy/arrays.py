"""Arrays of numbers, and helpers for those by the number of a trial."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Item = TypeVar("Item", bound=np.generic)


def grown(array: NDArray[Item], size: int) -> NDArray[Item]:
    """The array with room for `size` elements at least; new ones are NaN, or 0 if it has none."""
    if size <= len(array):
        return array
    fill = np.nan if array.dtype.kind == "f" else 0
    more = np.full(max(size, 2 * len(array)) - len(array), fill, array.dtype)
    return np.concatenate([array, more])


def lowest(numbers: NDArray[np.intp], losses: Array, count: int) -> list[int]:
    """The so many of the numbers that have the lowest losses, in order; then the lower ones."""
    own = losses[numbers]
    if count < len(own):
        within = own <= np.partition(own, count - 1)[count - 1]
        numbers, own = numbers[within], own[within]
    order = np.lexsort((numbers, own))[:count]
    return [int(number) for number in numbers[order]]


def median(ordered: Sequence[float]) -> float:
    """The median of numbers in order, one at least."""
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


class Medians:
    """The median of values by the number of a trial, of which one changes at a time."""

    def __init__(self) -> None:
        self._values: dict[int, float] = {}
        self._ordered: list[float] = []

    def put(self, number: int, value: float) -> None:
        """Know the value of a trial; it is not NaN."""
        if number in self._values:
            del self._ordered[bisect_left(self._ordered, self._values[number])]
        self._values[number] = value
        insort(self._ordered, value)

    def median(self) -> float | None:
        """The median; None without a value."""
        return median(self._ordered) if self._ordered else None
