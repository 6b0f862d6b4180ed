"""Conformal p-values: how seldom a normal session is as unusual, whatever the scores are made of.

A new session and the n of calibration, all normal, are one bag of N = n + 1. Nothing that is
computed here tells them apart, so if their order says nothing (they are exchangeable), a normal
session has P(p <= a) <= a for each a, whatever the network, the scores and their dependence (Vovk,
Gammerman and Shafer, "Algorithmic learning in a random world", 2005; Bates et al., "Testing for
outliers with conformal p-values", Annals of Statistics 2023, arXiv 2104.08279). Ties count against
a session: they make p larger.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.errors import InputError

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

#: share of a bag that is the tail of a score, and sessions of it, at most: further down scores such
#: as surprises fall more gently, so that their highest ones seem odder than they are
TAIL, MOST_IN_TAIL = 0.05, 16
#: new sessions that are judged together, and those of calibration that are bits of a row
ROWS, TOGETHER = 1 << 16, 1_024
#: probability with which the highest rate of a promise holds, and that which it is computed with:
#: it also depends on the calibration how scores are compared, which the beta distribution of the
#: rate leaves out (in simulations 92 to 94 % were below its 95 %)
CONFIDENCE, COMPUTED = 0.95, 0.975

#: what a rate is multiplied by, so that no p-value that is equal to it is above it
ROUNDED = 1 + 1e-9


def p_values(calibration: Floats, scores: Floats) -> Floats:
    """P-values of new sessions by one score, `[n]` and `[m]` to `[m]`; the higher, the odder."""
    at_least = len(calibration) - np.searchsorted(np.sort(calibration), scores, side="left")
    return np.asarray((1 + at_least) / (len(calibration) + 1))


class Combined:
    """P-values by several scores at once.

    A session is as odd as its oddest score. To be compared, a score is -log of the share of the bag
    that has as much of it. Ranks do not say how far above the others the highest few are, so in the
    tail, at most the highest 16, it is -log of the tail's share and how far above the tail's
    beginning, in means of that: the tail of an exponential distribution (excesses over a threshold,
    Pickands, Annals of Statistics 1975).
    """

    def __init__(self, calibration: Floats) -> None:
        """Sort `[n, k]` scores of calibration, once for all sessions that are judged by them."""
        self._rising = np.sort(calibration, axis=0)
        #: of some sessions at a time, by each score: their places in its order, rising, and which
        #: of them, as bits, are in each end of the order that begins at one, or after all
        self._ends: list[list[tuple[Indices, NDArray[np.uint64]]]] = []
        places = np.argsort(np.argsort(calibration, axis=0), axis=0)
        for begin in range(0, len(places), TOGETHER):
            some = []
            for its in places[begin : begin + TOGETHER].T:
                known = np.sort(its)
                members = np.zeros((len(known) + 1, TOGETHER), bool)
                members[:, : len(known)] = its >= np.append(known, len(places))[:, None]
                some.append((known, np.packbits(members, axis=1).view(np.uint64)))
            self._ends.append(some)

    def p_values(self, scores: Floats) -> tuple[Floats, Indices]:
        """P-values of new sessions, `[m, k]` to `[m]`, and which score of each is the oddest."""
        p, oddest = np.empty(len(scores)), np.empty(len(scores), np.int64)
        for begin in range(0, len(scores), ROWS):
            inside = slice(begin, begin + ROWS)
            distinct, row_of = np.unique(scores[inside], axis=0, return_inverse=True)
            bags = [_Bags(*one) for one in zip(self._rising.T, distinct.T, strict=True)]
            own = np.stack([one.own for one in bags], axis=1)
            as_odd = self._in_any([one.first_as_odd(own.max(axis=1)) for one in bags])
            p[inside] = ((1 + as_odd) / (len(self._rising) + 1))[row_of]
            oddest[inside] = own.argmax(axis=1)[row_of]
        return p, oddest

    def _in_any(self, first: Sequence[Indices]) -> Indices:
        """How many of calibration are in any of the ends that begin at k places, each `[m]`."""
        found = np.zeros(len(first[0]), np.int64)
        for some in self._ends:
            united = np.zeros((len(found), TOGETHER // 64), np.uint64)
            for (known, members), since in zip(some, first, strict=True):
                united |= members[np.searchsorted(known, since)]
            found += np.bitwise_count(united).sum(axis=1, dtype=np.int64)
        return found


class _Bags:
    """How odd the sessions of bags are by one score.

    Each of the new sessions, `[m]`, is in a bag with all that are known, `[n]`, rising.
    """

    def __init__(self, rising: Floats, new: Floats) -> None:
        size = len(rising) + 1
        in_tail = max(1, min(math.floor(TAIL * size), MOST_IN_TAIL))
        # what comes after so many of the highest of a bag
        threshold = np.clip(new, rising[-in_tail - 1] if in_tail < size - 1 else -np.inf,
                            rising[-in_tail])  # fmt: skip
        first = np.searchsorted(rising, threshold, side="right")
        sums = np.append(np.cumsum(rising[::-1])[::-1], 0.0)
        above = size - 1 - first + (new > threshold)
        total = sums[first] + np.where(new > threshold, new, 0.0)
        excess = np.where(above > 0, total / np.maximum(above, 1) - threshold, 1.0)
        self._excess = np.maximum(excess, np.spacing(np.abs(threshold)))  # of sums, rounded
        self._begin = -np.log(np.maximum(above, 1) / size)
        self._by_rank = -np.log(np.arange(1, size + 1) / size)
        self._threshold, self._rising, self._new = threshold, rising, new
        self._as_high = size - 1 - np.searchsorted(rising, rising, side="left")
        #: of the new ones, `[m]`
        self.own = self._oddity(new, size - np.searchsorted(rising, new, side="left"))

    def _oddity(self, scores: Floats, as_high: Indices) -> Floats:
        in_its_tail = self._begin + (scores - self._threshold) / self._excess
        return np.where(scores > self._threshold, in_its_tail, self._by_rank[as_high - 1])

    def first_as_odd(self, oddity: Floats) -> Indices:
        """The place of the first of the known that is as odd, for each bag; the n-th if none is."""
        low, high = np.zeros(len(oddity), np.int64), np.full(len(oddity), len(self._rising))
        while (low < high).any():
            middle = np.minimum((low + high) // 2, len(self._rising) - 1)
            known = self._rising[middle]
            is_odd = self._oddity(known, self._as_high[middle] + (self._new >= known)) >= oddity
            low, high = (
                np.where((low < high) & ~is_odd, middle + 1, low),
                np.where((low < high) & is_odd, middle, high),
            )
        return low


@dataclass(frozen=True)
class Promise:
    """What share of normal sessions raise an alarm if p-values up to `rate` do, or the like."""

    #: above 0 and below 1
    rate: float
    #: of calibration
    sessions: int
    #: what the rate is of, the option that it was given by, and what would give more of calibration
    of: str = "normal sessions"
    option: str = "--false-alarms"
    more: str = " (--calibrate PATH)"

    def __post_init__(self) -> None:
        if needed(self.rate) > self.sessions:
            raise InputError(
                f"{self.option} is {self.rate:g}: that takes {needed(self.rate):,} {self.of}, "
                f"found {self.sessions:,} of calibration: expected "
                f"{1 / (self.sessions + 1):.2g} or more, or more {self._noun}{self.more}"
            )

    @property
    def _noun(self) -> str:
        return self.of.split()[-1]

    @property
    def highest(self) -> float:
        """What the share is at most, with a probability of 95 %, for these sessions.

        It has a beta distribution (Bates et al., 2023, section 2.2): which sessions are those of
        calibration is chance, too.
        """
        from scipy.special import betaincinv

        rank = self.rate * (self.sessions + 1)
        return float(betaincinv(rank, self.sessions + 1 - rank, COMPUTED))

    def __str__(self) -> str:
        return (
            f"{_percent(self.rate)} of {self.of} on average; at most {_percent(self.highest)} with "
            f"{_percent(CONFIDENCE)}, from {self.sessions:,} {self._noun}"
        )


def needed(rate: float) -> int:
    """Sessions of calibration that a rate of false alarms takes, at least."""
    return math.ceil(1 / rate * (1 - 1e-12)) - 1


def highest_p(rate: float, sessions: int, name: str = "") -> float:
    """The highest p-value by which a new session raises an alarm, by its name.

    P-values are whole numbers of 1 / (n + 1). Of those in the step that the rate is in, its share
    of the step is used, which a hash of the name draws: so the rate is used up, not rounded down,
    and the same session has the same verdict wherever it is judged (smoothed p-values, Vovk et al.,
    2005). Without a name it is as high as that of any.
    """
    drawn = int.from_bytes(blake2b(name.encode(errors="replace"), digest_size=6).digest())
    return rate * ROUNDED + (drawn / (1 << 48) if name else 1.0) / (sessions + 1)


def raised(p: Floats, rate: float, sessions: int, name: Callable[[int], str]) -> NDArray[np.bool_]:
    """Which of new sessions raise an alarm, by their p-values, `[m]`, and names by their places."""
    found = p <= rate * ROUNDED
    for one in np.flatnonzero(~found & (p < highest_p(rate, sessions))):
        found[one] = p[one] <= highest_p(rate, sessions, name(int(one)))
    return found


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def discoveries(p: Floats, rate: float) -> float:
    """The highest p-value that is an alarm if this share of the alarms may be false, at most.

    It is that of Benjamini and Hochberg (1995); 0 if none is. It holds for conformal p-values by
    one score (Bates et al., 2023, theorem 2). By several, which each bag weighs anew, it did in
    simulations: 6 to 7 % of the alarms were false where 10 % may be.
    """
    rising = np.sort(p)
    under = np.flatnonzero(rising <= rate * np.arange(1, len(p) + 1) / len(p) * (1 + 1e-12))
    return float(rising[under[-1]]) if len(under) else 0.0
