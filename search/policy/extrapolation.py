"""`Extrapolation`: the loss that each trial would end with, kept up to date as trials report.

A trial that was cut short is assumed to improve from one rung to the next by the median ratio of
those that went on; so trials at different rungs can be compared. That is what TPE is told of them,
and who leads.

A report changes one curve, and may change each ratio between two rungs. So ratios are kept in
order, and losses are arrays: a sweep of ten thousand trials asks for them a hundred times a second.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence

import numpy as np

from lstm_sweep.search.policy import halving
from lstm_sweep.search.policy.arrays import Array, grown, median


class Extrapolation:
    """The loss that each trial would reach after `rounds` rounds, by its number."""

    def __init__(self, rounds: int, first: int = 1) -> None:
        self._marks = [*halving.rungs(rounds, first), rounds]
        #: from each mark but the last, ratios of losses to the next one, in order
        self._steps: list[list[float]] = [[] for _ in self._marks[1:]]
        #: those of each trial, with the mark that they are from
        self._own: dict[int, list[tuple[int, float]]] = {}
        #: of each trial, by its number: the loss at its last mark, which mark, and the last loss
        self._at_mark, self._last = np.full(64, np.nan), np.full(64, np.nan)
        self._mark = np.zeros(64, int)
        self._losses: Array | None = None

    def put(self, number: int, best_so_far: Sequence[float], *, over: bool = False) -> None:
        """Know the best loss of a trial after each round; an empty one is that of a failure.

        One that is `over` has come to its own end, so it would come no further.
        """
        for mark, step in self._own.pop(number, ()):
            del self._steps[mark][bisect_left(self._steps[mark], step)]
        self._losses = None
        self._make_room(number + 1)
        self._at_mark[number] = self._last[number] = np.nan
        if not best_so_far:
            return
        self._own[number] = steps = self._steps_of(best_so_far)
        for mark, step in steps:
            insort(self._steps[mark], step)
        if math.isfinite(best_so_far[-1]):
            come = self._marks[-1] if over else len(best_so_far)
            reached = max(0, bisect_right(self._marks, come) - 1)
            self._mark[number], self._last[number] = reached, best_so_far[-1]
            self._at_mark[number] = best_so_far[min(self._marks[reached], len(best_so_far)) - 1]

    def _make_room(self, size: int) -> None:
        self._at_mark, self._last = grown(self._at_mark, size), grown(self._last, size)
        self._mark = grown(self._mark, size)

    def _steps_of(self, losses: Sequence[float]) -> list[tuple[int, float]]:
        found = []
        for index, (mark, following) in enumerate(zip(self._marks, self._marks[1:], strict=False)):
            if len(losses) >= following and 0 < losses[mark - 1] < math.inf:
                found.append((index, losses[following - 1] / losses[mark - 1]))
        return found

    def losses(self) -> Array:
        """`<float64>[numbers]`, NaN where a trial has no finite loss; not to be written to."""
        if self._losses is None:
            with np.errstate(all="ignore"):
                grown_out = self._at_mark * self._to_end()[self._mark]
                cut = np.where(grown_out < self._last, grown_out, self._last)
                self._losses = np.where(self._at_mark < math.inf, cut, self._last)
        return self._losses

    def _to_end(self) -> Array:
        """By what a loss at each mark is multiplied."""
        ratios = [1.0]
        for steps in reversed(self._steps):
            ratios.append(ratios[-1] * (median(steps) if steps else 1.0))
        return np.array(ratios[::-1])
