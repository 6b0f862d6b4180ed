"""`Experience`: what earlier sweeps have found, as far as it tells a search where to begin.

A search begins with a few configs of which, going by the earlier sweeps, one is likely to be among
the best: a greedy portfolio, as of Feurer et al., Auto-Sklearn 2.0 (arXiv 2007.04074). What such a
list gains is shown by Metz et al., Using a thousand optimization tasks to learn hyperparameter
search strategies (arXiv 2002.11887).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lstm_sweep.models.config import LIMITS, NORMALIZING, TrialConfig
from lstm_sweep.search.policy.arrays import Array
from lstm_sweep.spaces.dimension import Dimension, Value
from lstm_sweep.spaces.space import Space

#: whether a config may be tried
Admits = Callable[[TrialConfig], bool]

#: openings that are taken from sweeps on the same corpus, and from others
FIRST, LATER = 1, 2
#: openings of a kind that are read back, at most
MOST_OPENINGS = 8
#: a trial may be an opening if a smaller share of its sweep was better
GOOD = 0.25
#: and if its rate was not further off the one that suits its network
LOWEST, HIGHEST = 0.1, 10.0
#: a trial that was behind such a share of its sweep is e times less likely to be the best
WORTH = 0.08
#: trials that know nothing, in the mean over those that are alike
DOUBT = 0.5
#: how much what holds on one corpus says of another
TRUST = 0.5
#: no opening is taken that adds less than this share of what the first one does
LEAST = 0.2
#: rounds took so many times longer or shorter than `cost.PRIOR` predicts, at most
SLOWEST = 100.0
#: how much of a difference makes two configs so unlike that one says less of the other: 1 is this
#: much of it, of `DOUBLINGS` as the logarithm to base 2
SCALES = {"layers": 1.0, "layer_size": 1.0, "sequence_length": 1.5, "batch_size": 1.0,
          "dropout": 0.2, "stride": 20.0, "embedding_size": 32.0}  # fmt: skip
DOUBLINGS = ("layer_size", "sequence_length", "batch_size")
#: the same of a rate, as the logarithm to base 10, and of another text
DECADE, OTHER = 0.5, 1.5
TEXTS = ("direction", "state", "optimizer")


@dataclass(frozen=True)
class PastTrial:
    """A trial of an earlier sweep."""

    config: TrialConfig
    #: share of the other trials of its sweep that were better, 0 to 1
    behind: float
    #: its learning rate, as a multiple of what the ladder of its sweep would have given its
    #: network; None if there was no ladder
    multiple: float | None = None


@dataclass(frozen=True)
class PastSweep:
    """An earlier sweep."""

    trials: tuple[PastTrial, ...]
    same_corpus: bool = False


@dataclass(frozen=True)
class Opening:
    """A config with which a search may begin, and its rate as a multiple of what suits it."""

    config: TrialConfig
    multiple: float = 1.0


@dataclass(frozen=True)
class Experience:
    """What a search begins with; by default it is nothing."""

    #: what was best on the same corpus, which is tried before the usual openings
    first: tuple[Opening, ...] = ()
    #: what was good on others, which is tried after them
    later: tuple[Opening, ...] = ()
    #: what rounds took on such devices, as a multiple of what `cost.PRIOR` predicts
    pace: float = 1.0

    def describe(self) -> list[str]:
        """A line for people: how many earlier configs a search begins with; none if none."""
        if not (self.first or self.later):
            return []
        counts = {"this corpus": len(self.first), "others": len(self.later)}
        parts = [f"{count} of sweeps on {which}" for which, count in counts.items() if count]
        return [f"prior: begins with configs from before, {' and '.join(parts)}"]


NO_EXPERIENCE = Experience()


def distilled(
    space: Space, admits: Admits, past: Sequence[PastSweep], paces: Sequence[float] = ()
) -> Experience:
    """What earlier sweeps, and the paces of their trials, say to a search of `space`."""
    past = [_in_terms_of(space, sweep) for sweep in past]
    same = [sweep for sweep in past if sweep.same_corpus]
    others = [sweep for sweep in past if not sweep.same_corpus]
    pace = statistics.median(paces) if paces else 1.0
    return Experience(
        portfolio(space, admits, same, FIRST),
        portfolio(space, admits, others, LATER),
        min(max(pace, 1 / SLOWEST), SLOWEST),
    )


def _in_terms_of(space: Space, sweep: PastSweep) -> PastSweep:
    """A sweep as if its optimizers were those of a space, where rates mean about the same.

    Else little would be known of a space with Adam where earlier sweeps had RMSprop.
    """
    known = next((name for name in NORMALIZING if name in space["optimizer"]), None)
    if known is None:
        return sweep

    def own(config: TrialConfig) -> TrialConfig:
        foreign = config.optimizer in NORMALIZING and config.optimizer not in space["optimizer"]
        return config.evolve(optimizer=known) if foreign else config

    return replace(sweep, trials=tuple(replace(t, config=own(t.config)) for t in sweep.trials))


def portfolio(
    space: Space, admits: Admits, past: Sequence[PastSweep], count: int
) -> tuple[Opening, ...]:
    """Configs of the space of which one is likely to be among the best.

    Each is the one that makes this most likelier, given those before it, over all sweeps. They
    differ in more than their rate.
    """
    candidates = _candidates(space, admits, past)
    if not candidates:
        return ()
    points = _Points([(one.config, one.multiple) for one in candidates])
    #: `<float64>[sweeps, candidates]`
    chances = np.array([_chances(sweep, points) for sweep in past])
    alike = points.alike(points)
    #: how likely it is that none of those chosen is among the best, nor says that of a candidate
    missed = np.ones_like(chances)
    chosen: dict[TrialConfig, Opening] = {}
    least = 0.0
    while len(chosen) < count:
        known = np.array([network(one.config) in chosen for one in candidates])
        gains = np.where(known, 0.0, (missed * chances).sum(axis=0))
        best = int(np.argmax(gains))
        if gains[best] <= least:
            break
        least = max(least, LEAST * float(gains[best]))
        chosen[network(candidates[best].config)] = candidates[best]
        # where it is not among the best, those that are like it are not either
        missed *= (1 - TRUST * alike[best]) * (1 - TRUST * chances[:, best, None])
    return tuple(chosen.values())


def network(config: TrialConfig) -> TrialConfig:
    """The config with a learning rate of 1, to compare configs by all other fields."""
    return config.evolve(learning_rate=1.0)


def _candidates(space: Space, admits: Admits, past: Sequence[PastSweep]) -> list[Opening]:
    """The good trials of earlier sweeps as configs of a space, each once."""
    every = (one for sweep in past for one in sweep.trials)
    good = (one for one in every if one.behind <= GOOD and LOWEST <= (one.multiple or 1) <= HIGHEST)
    found = ((placed(one.config, space, admits), one.multiple or 1.0) for one in good)
    return list(dict.fromkeys(Opening(config, multiple) for config, multiple in found if config))


def _chances(sweep: PastSweep, points: _Points) -> Array:
    """How likely points are among the best of a sweep, by the trials that are like them."""
    known = _Points([(one.config, one.multiple or 1.0) for one in sweep.trials])
    near = points.alike(known)
    worth = np.exp(-np.array([one.behind for one in sweep.trials]) / WORTH)
    return np.asarray((near @ worth) / (near.sum(axis=1) + DOUBT))


class _Points:
    """Configs, and their rates as multiples of what suits them, as rows of numbers and texts."""

    def __init__(self, points: Iterable[tuple[TrialConfig, float]]) -> None:
        values = [(config.to_dict(), multiple) for config, multiple in points]
        self._numbers = np.array(
            [[*map(float, _scaled(own)), math.log10(rate) / DECADE] for own, rate in values]
        )
        self._texts = np.array([[own[name] for name in TEXTS] for own, _ in values])

    def alike(self, others: _Points) -> Array:
        """How much each point is like each of the others, 0 to 1, `<float64>[points, others]`."""
        apart = ((self._numbers[:, None] - others._numbers[None]) ** 2).sum(axis=2)
        apart += OTHER**2 * (self._texts[:, None] != others._texts[None]).sum(axis=2)
        return np.asarray(np.exp(-apart / 2))


def _scaled(values: dict[str, Value]) -> Iterable[float]:
    for name, scale in SCALES.items():
        number = float(values[name])
        yield (math.log2(number) if name in DOUBLINGS else number) / scale


def placed(config: TrialConfig, space: Space, admits: Admits) -> TrialConfig | None:
    """The config of a space that is most like another; None if none of its kind is admitted.

    Of sizes that the size rule turns down the nearest one that it admits is taken.
    """
    values = {name: nearest(space[name], value) for name, value in config.to_dict().items()}
    values["epochs"] = space.largest("epochs")
    return nearest_size(TrialConfig.from_dict(values), space, admits)


def nearest_size(config: TrialConfig, space: Space, admits: Admits) -> TrialConfig | None:
    """A config with the layer size of a space that is nearest to its own, of those admitted.

    None if none is.
    """
    sizes = [float(size) for size in space["layer_size"].values() or [config.layer_size]]
    sizes.sort(key=lambda size: abs(math.log(size / config.layer_size)))
    configs = (config.evolve(layer_size=int(size)) for size in sizes)
    return next((one for one in configs if admits(one)), None)


def nearest(dimension: Dimension, value: Value) -> Value:
    """The value of a dimension that is nearest to another; of texts the first if it is none."""
    if value in dimension:
        return value
    if isinstance(value, str):
        return dimension.value_at(0.0)
    values = dimension.values()
    if values is None:
        return dimension.decode(dimension.encode(value))
    if LIMITS[dimension.field].ratio:
        return min(values, key=lambda one: abs(math.log(float(one) / value)))
    return min(values, key=lambda one: abs(float(one) - value))
