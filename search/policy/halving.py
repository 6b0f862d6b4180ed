"""Asynchronous successive halving: which trials go on, and what one that was cut short is worth.

Li et al., A System for Massively Parallel Hyperparameter Tuning, arXiv 1810.05934, in the form that
stops trials instead of promoting them: at each rung a trial goes on if its loss is among the best
1/factor of all that have reached this rung so far. Nothing ever waits for anything.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: of this many trials at a rung one goes on
FACTOR = 3
#: of the trials at the first rung, where losses say least, so many go on at the least
FIRST_PLACES = 2


@dataclass(frozen=True)
class RungDecision:
    """Whether a trial goes on, and why."""

    go_on: bool
    reason: str


def rungs(rounds: int, first: int = 1, factor: int = FACTOR) -> tuple[int, ...]:
    """Rounds after which trials of `rounds` are judged: first, first * factor ... below it."""
    found = []
    while first < rounds:
        found.append(first)
        first *= factor
    return tuple(found)


def decide(
    epoch: str, loss: float, others: Sequence[float], *, places: int = 1, factor: int = FACTOR
) -> RungDecision:
    """Judge a trial at a rung by its best loss so far and those of the others when they were there.

    `epoch` is how many are trained then, for people.

    One of `factor` goes on, a part of a place counts as a whole one, and there are `places` at the
    least. NaN and infinite losses are worse than all others.
    """
    reached = len(others) + 1
    places = max(places, math.ceil(reached / factor))
    rank = 1 + sum(_order(other) < _order(loss) for other in others)
    if rank <= places:
        return RungDecision(True, f"{loss:.4g} is number {rank} of {reached} at epoch {epoch}")
    best = f"best {places} of" if places > 1 else "best of"
    return RungDecision(
        False, f"pruned at epoch {epoch}: {loss:.4g} is not among the {best} {reached} at this rung"
    )


def _order(loss: float) -> float:
    return loss if math.isfinite(loss) else math.inf


def extrapolated_losses(
    curves: Mapping[int, Sequence[float]], rounds: int, first: int = 1
) -> dict[int, float]:
    """The loss that each trial would reach after `rounds` rounds, by its number.

    `curves` holds the best loss so far after each round. A trial that was cut short is assumed to
    improve from one rung to the next by the median ratio of those that went on; so trials that
    ended at different rungs can be compared. Without a finite loss a trial has no prospect.
    """
    marks = [*rungs(rounds, first), rounds]
    ratio = 1.0
    to_end: dict[int, float] = {rounds: 1.0}
    for mark, following in zip(reversed(marks[:-1]), reversed(marks), strict=False):
        long_enough = (c for c in curves.values() if len(c) >= following)
        went_on = [c for c in long_enough if 0 < c[mark - 1] < math.inf]
        steps = [c[following - 1] / c[mark - 1] for c in went_on]
        ratio *= statistics.median(steps) if steps else 1.0
        to_end[mark] = ratio
    found = {}
    for number, curve in curves.items():
        if curve and math.isfinite(curve[-1]):
            reached = max((mark for mark in marks if mark <= len(curve)), default=marks[0])
            loss = curve[min(reached, len(curve)) - 1]
            found[number] = min(loss * to_end[reached], curve[-1]) if loss < math.inf else curve[-1]
    return found
