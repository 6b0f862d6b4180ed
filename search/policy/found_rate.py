"""`FoundRate`: what a ladder has found, and to which learning rates the search keeps after it.

A ladder goes down by tens on one small network. The best rate lies somewhere between the neighbours
of its best step, and is another one for other networks: of RMSprop and Adam it falls as layers grow
in size and in number. So the search gets a range on a log scale, and of it each config the part
that suits its size.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from lstm_sweep.models.config import Config
from lstm_sweep.search.policy.ladder import FACTOR, SAME, Step, is_by_tens
from lstm_sweep.spaces.dimension import Dimension, Range
from lstm_sweep.spaces.space import Space

#: the search keeps to rates from a tenth of the best one to twice as high
BELOW, ABOVE = 10.0, 2.0
#: a step is nearly as good as the best one if it gains so much of what that gains over unigrams
NEARLY = 0.9
#: significant digits of a rate
DIGITS = 2


@dataclass(frozen=True, kw_only=True)
class FoundRate:
    """The best rate of a ladder's network, and the rates that other networks may have."""

    space: Space
    #: of the ladder's network; between two steps of the ladder if `refines`
    rate: float
    #: rates above this one have diverged, or lost clearly
    highest: float
    #: best rate of a config, as a share of that of the ladder's network
    share: Callable[[Config], float] = field(compare=False)
    #: the lowest share in the space
    lowest_share: float = 1.0
    #: rates below this one have lost; 0: those below a tenth of the best one
    lowest: float = 0.0
    #: whether the search may take any rate within the space's ends, or listed ones only
    refines: bool = False

    @property
    def narrowed(self) -> Space:
        """The space with the rates that the search keeps to."""
        assert self.space.rate
        dimension = self.space[self.space.rate]
        if self.refines:
            low, high = self._ends
            kept = _range(dimension, low, high)
        else:
            low = min(self.rate / FACTOR, self.lowest or math.inf)
            kept = dimension.between(low * (1 - SAME), self.highest * (1 + SAME))
        return self.space.replace(**{self.space.rate: kept}) if kept else self.space

    def suits(self, config: Config) -> bool:
        """Whether a config has a rate that may suit it."""
        if not self.refines:
            return True
        own, low = self._own(config), self._ends[0]
        # where all that would suit is below the space, the lowest rates are left
        high = max(own * ABOVE, low * ABOVE)
        return own / BELOW * (1 - SAME) <= self._rate_of(config) <= high * (1 + SAME)

    def suited(self, config: Config, multiple: float | None = None) -> Config:
        """The config with the best rate for it, as far as that is known and in the space.

        Or with a `multiple` of that.
        """
        if not self.refines and multiple is None:
            return config
        assert self.space.rate
        kept = self.narrowed[self.space.rate]
        wanted = self._own(config) * min(max(multiple or 1.0, 1 / BELOW), ABOVE)
        if values := kept.values():  # a single one, or those that are listed
            rate = min(values, key=lambda value: abs(math.log(float(value) / wanted)))
        else:
            rate = kept.decode(kept.encode(wanted))
        return config.evolve(**{self.space.rate: rate})

    @property
    def _ends(self) -> tuple[float, float]:
        assert self.space.rate
        lowest, highest = ends_of(self.space[self.space.rate])
        low = max(lowest, rounded(self.rate * self.lowest_share / BELOW))
        return low, max(low, min(highest, rounded(self.rate * ABOVE)))

    def _own(self, config: Config) -> float:
        return self.rate * self.share(config)

    def _rate_of(self, config: Config) -> float:
        return float(config.to_dict()[self.space.rate or ""])


def refinable(space: Space) -> bool:
    """Whether the search may take rates between those of the ladder.

    They are a range without steps, or three listed rates or more by tens; lists of others are meant
    as they stand, as is what a template says.
    """
    if space.stands_in or not space.rate:
        return False
    dimension = space[space.rate]
    return is_by_tens(dimension) or (isinstance(dimension, Range) and not dimension.step)


def found(
    space: Space,
    steps: Sequence[Step],
    best: float,
    untrained: float | None,
    share: Callable[[Config], float],
    lowest_share: float,
) -> FoundRate:
    """What is to be made of a ladder that has ended with the rate `best`.

    `untrained` is the loss of the unigram baseline, nats; None if it is not known.
    """
    refines = refinable(space)
    index = [step.rate for step in steps].index(best)
    above, below = _passed_over(reversed(steps[:index])), _passed_over(steps[index + 1 :])
    near = best * FACTOR if _nearly_as_good(steps, index, untrained) else best * FACTOR**0.5
    return FoundRate(
        space=space,
        rate=between_steps(steps, best, untrained) if refines else best,
        highest=above[-1].rate if above else near,
        lowest=below[-1].rate if below else 0.0,
        share=share,
        lowest_share=lowest_share,
        refines=refines,
    )


def _passed_over(steps: Iterable[Step]) -> list[Step]:
    """The first of some steps, those of which nothing is known."""
    return list(itertools.takewhile(lambda step: step.accident, steps))


def between_steps(steps: Sequence[Step], best: float, untrained: float | None) -> float:
    """The rate at the lowest point of a parabola through the best step and its two neighbours.

    It is a parabola of the loss over the logarithm of the rate. A neighbour counts with the loss
    `untrained` if it has diverged, was worse or lies above the space; one that was passed over is
    none, so the next one is. If the best step is the lowest, it is that.
    """
    places = {step.rate: place for place, step in enumerate(steps)}
    own = places[best]
    below = next((step for step in steps[own + 1 :] if not step.accident), None)
    if below is None:
        return best
    above = next((step for step in reversed(steps[:own]) if not step.accident), None)
    # distances to the two, in steps of the ladder, and how much higher their losses are
    up, down = own - (places[above.rate] if above else -1), places[below.rate] - own
    least = _gauged(steps[own].loss, untrained)
    over = _gauged(above.loss if above else None, untrained) - least
    under = _gauged(below.loss, untrained) - least
    bend = (up * under + down * over) / (up * down * (up + down))
    if not math.isfinite(bend) or bend <= 0:
        return best
    slope = over / up - bend * up
    return rounded(best * FACTOR ** (-slope / (2 * bend)))


def _gauged(loss: float | None, untrained: float | None) -> float:
    worst = math.inf if untrained is None else untrained
    return worst if loss is None else min(loss, worst)


def _nearly_as_good(steps: Sequence[Step], index: int, untrained: float | None) -> bool:
    """Whether the step above the best one has gained nearly as much, or nobody can tell."""
    losses = [math.inf if step.loss is None else step.loss for step in steps]
    if index == 0 or not math.isfinite(losses[index - 1]):
        return False
    if untrained is None:
        return True
    return untrained - losses[index - 1] >= NEARLY * (untrained - losses[index])


def rounded(rate: float) -> float:
    """A rate with `DIGITS` significant digits."""
    return float(f"{rate:.{DIGITS}g}")


def ends_of(dimension: Dimension) -> tuple[float, float]:
    """The lowest and the highest rate of a dimension that may be refined."""
    if values := dimension.values():
        return float(values[0]), float(values[-1])
    return float(getattr(dimension, "low", 0.0)), float(getattr(dimension, "high", math.inf))


def _range(dimension: Dimension, low: float, high: float) -> Dimension | None:
    """The rates of a dimension from `low` to `high`, as a range without steps."""
    if isinstance(dimension, Range):
        kept = dimension.between(low, high)
        return replace(kept, digits=DIGITS) if isinstance(kept, Range) else kept
    whole = Range(dimension.field, *ends_of(dimension), log=True, digits=DIGITS)
    return whole.between(low, high)
