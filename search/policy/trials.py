"""`Trials`: all of a sweep, and what is asked of them often."""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.config import Config
from lstm_sweep.search.values.progress import TrialProgress
from lstm_sweep.search.values.trial import Phase

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


@dataclass
class Slots:
    """How many trials may run at once by now, 1 or more.

    The search reads it, and what confirms the best; a ladder stays as long as it was at first.
    Whoever drives the sweep keeps it up to date: other sweeps come and go, and so do nodes.
    """

    count: int


#: paused trials that are named at a time once none goes on; after a few ends they are asked again
FEW_PAUSED = 64


class Ranking:
    """Numbers of trials in order of their losses; of equal ones the lower number comes first."""

    def __init__(self) -> None:
        self._keys: list[tuple[float, int]] = []
        self._losses: dict[int, float] = {}

    def put(self, number: int, loss: float | None) -> None:
        """Note the loss of a trial; None if it has none any more."""
        old = self._losses.get(number)
        if old == loss:
            return
        if old is not None:
            del self._keys[bisect_left(self._keys, (old, number))]
            del self._losses[number]
        if loss is not None:
            insort(self._keys, (loss, number))
            self._losses[number] = loss

    def numbers(self, count: int | None = None) -> list[int]:
        """Numbers of the `count` trials with the lowest losses, or of all trials that have one."""
        return [number for _, number in self._keys[:count]]


class Trials(Mapping[int, TrialProgress]):
    """Trials by their number, in the order in which they were first put."""

    def __init__(self, trials: Iterable[TrialProgress] = ()) -> None:
        self._trials: dict[int, TrialProgress] = {}
        self._places: dict[int, int] = {}
        self._open: set[int] = set()
        self._paused: set[int] = set()
        self._again: set[int] = set()
        self._ranked, self._so_far = Ranking(), Ranking()
        #: configs of all trials but those that confirm
        self.configs: set[Config] = set()
        for one in trials:
            self.put(one)

    def put(self, one: TrialProgress) -> None:
        """Know a trial, or what has become of it."""
        number, first = one.trial.number, one.trial.phase is not Phase.CONFIRM
        self._places.setdefault(number, len(self._places))
        self._trials[number] = one
        _keep(self._open, number, one.ended is None)
        _keep(self._paused, number, bool(one.paused))
        _keep(self._again, number, not first)
        if first:
            self.configs.add(one.trial.config)
            self._ranked.put(number, one.ranked_loss)
        if first and one.trial.steps is None:
            self._so_far.put(number, one.ranked_loss if one.ended else one.best_loss)

    def __getitem__(self, number: int) -> TrialProgress:
        return self._trials[number]

    def __iter__(self) -> Iterator[int]:
        return iter(self._trials)

    def __len__(self) -> int:
        return len(self._trials)

    def _in_order(self, numbers: Iterable[int]) -> list[TrialProgress]:
        return [self._trials[number] for number in sorted(numbers, key=self._places.__getitem__)]

    @property
    def any_paused(self) -> bool:
        """Whether a trial is paused."""
        return bool(self._paused)

    @property
    def open(self) -> list[TrialProgress]:
        """Trials that have not ended."""
        return self._in_order(self._open)

    @property
    def paused(self) -> list[TrialProgress]:
        """Trials that are paused."""
        return self._in_order(self._paused)

    def first_paused(self, count: int = FEW_PAUSED) -> list[TrialProgress]:
        """The first so many of those that are paused."""
        first = heapq.nsmallest(count, self._paused, key=self._places.__getitem__)
        return [self._trials[number] for number in first]

    @property
    def again(self) -> list[TrialProgress]:
        """Trials that confirm a config."""
        return self._in_order(self._again)

    def ranked(self) -> list[TrialProgress]:
        """First runs of configs that have ended with a loss, the best first."""
        return [self._trials[number] for number in self._ranked.numbers()]

    def best_so_far(self, count: int | None = None) -> list[TrialProgress]:
        """The best so many first runs, or all, by their loss so far, those under way too.

        Those that take a number of steps only are left out.
        """
        return [self._trials[number] for number in self._so_far.numbers(count)]


def _keep(numbers: set[int], number: int, holds: bool) -> None:
    if holds:
        numbers.add(number)
    else:
        numbers.discard(number)
