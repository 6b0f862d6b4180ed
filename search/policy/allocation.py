"""Which trials of a search are worth their next round: the leaders, and those that may overtake.

Trials wait at rungs with a checkpoint, as in asynchronous successive halving with promotions (Li et
al., arXiv 1810.05934): a trial is promoted from a rung once it is among the best 1/factor of all
that have come there, unless another one was better at an earlier rung. Half of the slots are for
the leaders all the time, the trials whose forecasts are the best; they are not asked at rungs. The
other half are for promotions and for new trials.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.search.policy import halving
from lstm_sweep.search.policy.arrays import Array, grown, lowest

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Contender:
    """A trial of the search that has a finite loss, as it is compared with others."""

    number: int
    #: lowest validation loss so far after each round
    best_so_far: Sequence[float]
    #: whether it has ended, so that it gets no further round
    ended: bool
    #: whether it waits, with a checkpoint
    paused: bool
    #: round before which it is not judged, since it has taken too few steps until then
    judged_from: int = 1

    def at(self, rungs: Sequence[int]) -> list[float]:
        """Its loss at each of the rungs that it has come to.

        At the last one before `judged_from`, by which it is judged first, that is the loss after
        `judged_from`. At those before it the others are compared with what it had there.
        """
        reached = rungs[: bisect_right(rungs, len(self.best_so_far))]
        found = [self.best_so_far[rung - 1] for rung in reached]
        if late := bisect_right(rungs, self.judged_from):
            found[late - 1] = self.best_so_far[self.judged_from - 1]
        return found


class Standings:
    """How trials compare, kept up to date as they change; arrays are by the number of a trial."""

    def __init__(self, rungs: Sequence[int], forecasts: Callable[[], Array]) -> None:
        """`rungs` are the rounds after which trials are compared.

        `forecasts` gives the loss that each trial is expected to have when the search is over.
        """
        self._rungs, self._forecasts = rungs, forecasts
        #: of each trial the losses at the rungs that it has come to
        self._entered: dict[int, list[float]] = {}
        #: losses of all that have come to a rung, as they were there, in order
        self._losses: list[list[float]] = [[] for _ in rungs]
        #: last loss of each trial; the rung that it has come to, -1 before the first, and its loss
        self._last, self._at_rung = np.full(64, np.nan), np.full(64, np.nan)
        self._rung = np.zeros(64, int)
        self._known, self._ended, self._paused = (np.zeros(64, bool) for _ in range(3))

    def __contains__(self, number: int) -> bool:
        return number in self._entered

    def put(self, one: Contender) -> None:
        """Compare a trial from now on, as it is."""
        self.drop(one.number)
        number, found = one.number, one.at(self._rungs)
        for losses, loss in zip(self._losses, found, strict=False):
            insort(losses, loss)
        self._entered[number] = found
        self._known[number], self._ended[number], self._paused[number] = True, one.ended, one.paused
        self._last[number], self._rung[number] = one.best_so_far[-1], len(found) - 1
        self._at_rung[number] = found[-1] if found else one.best_so_far[0]

    def drop(self, number: int) -> None:
        """Do not compare a trial any more."""
        self._make_room(number + 1)
        for losses, loss in zip(self._losses, self._entered.pop(number, ()), strict=False):
            del losses[bisect_left(losses, loss)]
        self._known[number] = False

    def _make_room(self, size: int) -> None:
        self._last, self._at_rung = grown(self._last, size), grown(self._at_rung, size)
        self._rung, self._known = grown(self._rung, size), grown(self._known, size)
        self._ended, self._paused = grown(self._ended, size), grown(self._paused, size)

    def forecast(self, number: int) -> float:
        """The loss that a trial is expected to have when the search is over."""
        return float(self._forecasts()[number])

    def _hopeful(self) -> tuple[Mask, Array]:
        """Which trials have rounds left and may become better than all that have ended."""
        forecasts = grown(self._forecasts(), len(self._known))[: len(self._known)]
        ended = self._last[self._known & self._ended]
        best = float(ended.min()) if len(ended) else math.inf
        return self._known & ~self._ended & (forecasts < best), forecasts

    def leaders(self, places: int) -> list[int]:
        """The trials with the best forecasts that have rounds left, the best first.

        None is a leader that is not expected to become better than one that has ended.
        """
        hopeful, forecasts = self._hopeful()
        return lowest(np.flatnonzero(hopeful), forecasts, places)

    def is_leader(self, number: int, places: int) -> bool:
        """Whether a trial is one of so many leaders."""
        hopeful, forecasts = self._hopeful()
        if not hopeful[number]:
            return False
        own = forecasts[number]
        before = np.count_nonzero(hopeful & (forecasts < own))
        before += np.count_nonzero(hopeful[:number] & (forecasts[:number] == own))
        return bool(before < places)

    def best(self) -> int | None:
        """The trial with the best forecast, be it over or not; None if there is none."""
        return self._expected_best(self._known)

    def best_paused(self, among: Collection[int] | None = None) -> int | None:
        """The paused trial with the best forecast, if `among` is given of these."""
        paused = self._known & self._paused
        if among is not None:
            chosen = np.zeros(len(paused), bool)
            chosen[list(among)] = True
            paused &= chosen
        return self._expected_best(paused)

    def _expected_best(self, which: Mask) -> int | None:
        return next(iter(lowest(np.flatnonzero(which), self._forecasts(), 1)), None)

    def rung_of(self, number: int) -> int | None:
        """The last rung that a trial has reached; None before the first."""
        reached = int(self._rung[number])
        return None if reached < 0 else self._rungs[reached]

    def rank(self, number: int) -> tuple[int, int]:
        """Place of a trial among all that have come to its last rung, and how many these are."""
        reached = int(self._rung[number])
        if reached < 0:
            return 1, 1
        there = self._losses[reached]
        return 1 + bisect_left(there, float(self._at_rung[number])), len(there)

    def is_promoted(self, number: int) -> bool:
        """Whether a trial is among the best at its rung, so that it goes on to the next one.

        One that `is_behind` is not.
        """
        place, reached = self.rank(number)
        return place <= reached // halving.FACTOR and not self.is_behind(number)

    def is_behind(self, number: int) -> bool:
        """Whether a trial was worse at its last rung than another one at an earlier rung."""
        return bool(self._at_rung[number] > self._lowest_before(int(self._rung[number])))

    def to_promote(self, leaders: Collection[int] = ()) -> int | None:
        """The paused trial at the highest rung from which it is promoted; None if none is.

        Leaders are not asked: they have slots of their own.
        """
        asked = self._known & self._paused
        asked[list(leaders)] = False
        for rung in reversed(range(len(self._rungs))):
            there = self._losses[rung]
            if places := len(there) // halving.FACTOR:
                most = min(there[places - 1], self._lowest_before(rung))
                promoted = asked & (self._rung == rung) & (self._at_rung <= most)
                if found := lowest(np.flatnonzero(promoted), self._at_rung, 1):
                    return found[0]
        return None

    def _lowest_before(self, rung: int) -> float:
        """The lowest loss that a trial had at an earlier rung than this one."""
        before = self._losses[: max(rung, 0)]
        return min((losses[0] for losses in before if losses), default=math.inf)
