"""Asynchronous successive halving: which trials go on at a rung.

Li et al., A System for Massively Parallel Hyperparameter Tuning, arXiv 1810.05934, in the form that
stops trials instead of promoting them: at each rung a trial goes on if its loss is among the best
1/factor of all that have reached this rung so far. That is for trials that cannot be paused; those
that can are promoted (`allocation`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
