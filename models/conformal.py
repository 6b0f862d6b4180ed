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
from collections.abc import Callable
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
#: sessions of bags that are looked at together, about
TOGETHER = 1 << 15
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

    A session is as odd as the sum of 1/p of its scores, so that what is a little odd by several of
    them adds up, and one that is far off is enough (the harmonic mean p-value, Wilson, PNAS 2019;
    it is made conformal, so that nothing rests on its theory). The p of a score is the share of the
    bag that has as much of it. Ranks do not say how far above the others the highest few are, so in
    the tail, at most the highest 16, it is the tail's share, falling off by how far above the
    tail's beginning a score is, in means of that: the tail of an exponential distribution (excesses
    over a threshold, Pickands, Annals of Statistics 1975).
    """

    def __init__(self, calibration: Floats) -> None:
        """Sort `[n, k]` scores of calibration, once for all sessions that are judged by them."""
        rising = np.sort(calibration, axis=0)
        #: by each score: its values, these in rising order, and how many are as high
        self._columns = [
            (column, ordered, len(ordered) - np.searchsorted(ordered, column))
            for column, ordered in zip(calibration.T, rising.T, strict=True)
        ]
        self._size = len(calibration) + 1

    def p_values(self, scores: Floats) -> tuple[Floats, Indices]:
        """P-values of new sessions, `[m, k]` to `[m]`, and which score of each is the oddest."""
        distinct, row_of = np.unique(scores, axis=0, return_inverse=True)
        rows, p, oddest = max(1, TOGETHER // self._size), np.empty(0), np.empty(0, np.int64)
        for begin in range(0, len(distinct), rows):
            summed, own = np.zeros(1), []
            for new, column in zip(distinct[begin : begin + rows].T, self._columns, strict=True):
                oddity = self._oddity(new[:, None], *column)
                summed = summed + oddity
                own.append(oddity[:, -1])
            p = np.append(p, (summed >= summed[:, -1:]).mean(axis=1))
            oddest = np.append(oddest, np.argmax(own, axis=0))
        return p[row_of], oddest[row_of]

    def _oddity(self, new: Floats, known: Floats, rising: Floats, as_high: Indices) -> Floats:
        """1/p in the bags of new sessions, `[m, 1]`, by one score, theirs last, `[m, n + 1]`."""
        size = self._size
        bag = np.concatenate([np.broadcast_to(known, (len(new), size - 1)), new], axis=1)
        found = np.empty(bag.shape)
        found[:, :-1] = size / (as_high + (new >= known))
        found[:, -1:] = size / (size - np.searchsorted(rising, new))
        in_tail = max(1, min(math.floor(TAIL * size), MOST_IN_TAIL))
        # what comes after so many of the highest of a bag
        lowest = rising[-in_tail - 1] if in_tail < size - 1 else -np.inf
        threshold = np.clip(new, lowest, rising[-in_tail])
        row, place = np.nonzero(bag > threshold)
        above = np.bincount(row, minlength=len(new))[row]
        excess = bag[row, place] - threshold[row, 0]
        mean = np.bincount(row, excess, len(new))[row] / above
        found[row, place] = size / above * np.exp(excess / mean)
        return found


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
