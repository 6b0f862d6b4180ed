"""The ladder: a coarse sweep of learning rates from high to low, and what follows from it.

Greff et al. (LSTM: A Search Space Odyssey, arXiv 1503.04069) find that the learning rate explains
most of the variance of a network's loss. The best one depends on the network's size, but by less
than a step of ten. So it is found first, on a small network: start high, divide by ten until the
loss stops improving. What the search makes of it for larger ones is in found_rate.py.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from lstm_sweep.search.values.trial import Outcome
from lstm_sweep.spaces.dimension import Dimension
from lstm_sweep.spaces.space import Space

FACTOR = 10.0
#: a rate whose loss is above this share of that of the unigram baseline has learned nothing
LEARNED = 0.98
#: numbers that differ by less than this share are the same rate
SAME = 1e-6
#: a rate that suits many networks, in place of what a ladder finds
USUAL = 0.01
#: neighbours whose ratio is off ten by less than this share are a tenth of each other
SAME_TENTH = 0.01


@dataclass(frozen=True)
class Step:
    """A rate of the ladder, and what came of it."""

    rate: float
    #: validation loss, nats; infinite if the trial has diverged; None if it is not known
    loss: float | None = None
    #: how its trial has ended, if that says nothing of the rate: it is passed over then
    accident: Outcome | None = None

    @property
    def is_open(self) -> bool:
        """Whether its loss is still to come."""
        return self.loss is None and self.accident is None


@dataclass(frozen=True)
class LadderDecision:
    """Which rates of a ladder are still needed, and which is the best so far."""

    #: rates whose losses are still needed, the highest first; empty when the ladder has ended
    needed: tuple[float, ...]
    #: the best rate so far; None if none has learned anything
    best: float | None
    reason: str

    @property
    def done(self) -> bool:
        """Whether the ladder has ended."""
        return not self.needed


def rates(dimension: Dimension) -> tuple[float, ...]:
    """The rates of a ladder over a dimension of learning rates, from its highest value down.

    Each is a tenth of the one before, or the largest listed value that is no more than that.
    """
    listed = dimension.values()
    if listed is not None:
        values = sorted((float(value) for value in listed), reverse=True)
        found = values[:1]
        for value in values:
            if value <= found[-1] / FACTOR * (1 + SAME):
                found.append(value)
        return tuple(found)
    low, high = (float(getattr(dimension, end)) for end in ("low", "high"))
    count = math.floor(math.log(high / low, FACTOR) + SAME) + 1
    exact = (high / FACTOR**index for index in range(count))
    return tuple(dict.fromkeys(float(dimension.decode(dimension.encode(r))) for r in exact))


def of(space: Space) -> tuple[float, ...]:
    """The ladder of a space; empty if it has no more rates than would be left."""
    found = rates(space[space.rate]) if space.rate else ()
    return found if len(found) > 2 else ()


def is_left_out(rates: Sequence[float], trials: int) -> bool:
    """Whether a sweep of so many trials could end before a ladder of these rates does."""
    return trials <= len(rates)


def usual(rates: Sequence[float]) -> float:
    """The one of these rates that is nearest to `USUAL`, on a log scale."""
    return min(rates, key=lambda rate: abs(math.log(rate / USUAL)))


def is_by_tens(dimension: Dimension) -> bool:
    """Whether a dimension lists three rates or more, each a tenth of the one before."""
    listed, found = dimension.values() or [], rates(dimension)
    return (
        len(found) > 2
        and len(found) == len(listed)
        and all(
            abs(high / low / FACTOR - 1) < SAME_TENTH for high, low in itertools.pairwise(found)
        )
    )


def decide(steps: Sequence[Step], unigram_loss: float) -> LadderDecision:
    """Decide from the steps, highest rate first, which are still needed.

    A step counts once all above it are known. The ladder ends at the first rate that is worse than
    a higher one that has learned something; `unigram_loss` is that of the unigram baseline, nats.
    """
    passed = "".join(
        f"; {one.rate:g} was passed over ({str(one.accident).replace('_', ' ')})"
        for one in steps
        if one.accident
    )
    best: Step | None = None
    for index, step in enumerate(steps):
        if step.is_open:
            needed = tuple(later.rate for later in steps[index:] if later.is_open)
            return LadderDecision(needed, best.rate if best else None, f"waiting for {step.rate:g}")
        if step.loss is None:
            continue
        learned = math.isfinite(step.loss) and step.loss < LEARNED * unigram_loss
        if best is None:
            best = step if learned else None
        elif best.loss is not None and math.isfinite(step.loss) and step.loss < best.loss:
            best = step
        else:
            told = f"{best.rate:g} is best, {_compare(step, best)}"
            return LadderDecision((), best.rate, told + passed)
    if best is None:
        limit = f"{LEARNED:g} times the unigram loss ({unigram_loss:.4f})"
        return LadderDecision((), None, f"no rate came below {limit}{passed}")
    told = f"{best.rate:g}, the lowest rate, is best, loss {best.loss:.4f}"
    return LadderDecision((), best.rate, told + passed)


def _compare(step: Step, best: Step) -> str:
    diverged = step.loss is None or not math.isfinite(step.loss)
    worse = "diverged" if diverged else f"reached {step.loss:.4f}"
    return f"loss {best.loss:.4f}; {step.rate:g} {worse}"
