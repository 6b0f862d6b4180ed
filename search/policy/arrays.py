"""Arrays of numbers, and helpers for those by the number of a trial."""

from __future__ import annotations

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
