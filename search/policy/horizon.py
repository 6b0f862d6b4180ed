"""`Horizon`: the loss that each trial of a search is expected to have when the search is over.

A forecast says what a trial has after all its rounds. Where the time is limited, few come so far: a
young trial that would end best may be worse, when the time is over, than one that leads by then. So
trials are compared by what each would have if it kept a slot until the end. Between now and its
last round the loss of a trial is taken to fall as a power of the rounds (arXiv 1712.00409).
"""

from __future__ import annotations

import math

import numpy as np

from lstm_sweep.search.policy.arrays import Array, grown
from lstm_sweep.search.policy.forecast import Forecasts
from lstm_sweep.search.progress import TrialSnapshot


class Horizon:
    """What trials have after the rounds that they have time for; arrays are by their numbers."""

    def __init__(self, forecasts: Forecasts, rounds: int) -> None:
        """`forecasts` are those of the trials after all their `rounds`."""
        self._forecasts, self._rounds = forecasts, rounds
        #: seconds until the search is over; infinite if its time is not limited
        self._left = math.inf
        #: lowest loss and rounds of each trial, the seconds of a further round, and those that have
        #: to be left for one
        self._lowest, self._done = np.full(64, np.nan), np.full(64, np.nan)
        self._each, self._least = np.full(64, np.nan), np.full(64, np.nan)
        #: what `losses` has found, and by which forecasts; None if it is out of date
        self._found = np.full(0, np.nan)
        self._by: Array | None = None

    def know_left(self, left: float | None) -> None:
        """Know how many seconds are left until the search is over; None: no limit of time."""
        seconds = math.inf if left is None else max(0.0, left)
        if seconds != self._left:
            self._left, self._by = seconds, None

    def put(self, one: TrialSnapshot) -> None:
        """Know how far a trial that has a loss has come."""
        number, self._by = one.trial.number, None
        self._lowest, self._done = grown(self._lowest, number + 1), grown(self._done, number + 1)
        self._each, self._least = grown(self._each, number + 1), grown(self._least, number + 1)
        self._lowest[number], self._done[number] = one.best_so_far[-1], len(one.rounds)
        usual, first = one.usual_round_seconds, sum(one.round_seconds[:1])
        # the first round alone says neither how long others take nor how steeply the loss falls:
        # such a trial is compared by what it has after all rounds, if there is time for one
        self._each[number] = 0.0 if usual is None else usual
        self._least[number] = first if usual is None else usual

    def losses(self) -> Array:
        """The loss of each trial then, `<float64>[numbers]`; NaN of those without a forecast.

        That of a trial which was never put is its forecast. What it takes to go on after a wait is
        not counted. Not to be written to.
        """
        ranges = self._forecasts.ranges()
        if self._by is not ranges:
            self._found, self._by = self._losses(ranges[0]), ranges
        return self._found

    def _losses(self, ends: Array) -> Array:
        if self._left == math.inf:
            return ends
        count = len(ends)
        lowest, done, each, least = (
            grown(array, count)[:count]
            for array in (self._lowest, self._done, self._each, self._least)
        )
        with np.errstate(all="ignore"):
            further = np.where(each > 0, np.floor(self._left / each), np.inf)
            further = np.where(self._left < least, 0.0, further)
            then = np.minimum(done + further, self._rounds)
            found = lowest * (ends / lowest) ** self._share(done, then)
        return np.where(np.isfinite(found), found, ends)

    def _share(self, done: Array, then: Array) -> Array:
        """How much of the way to the last round `then` rounds are, on a log scale."""
        return np.asarray(np.log(then / done) / np.log(self._rounds / done))
