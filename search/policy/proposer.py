"""What to try next, as a pure function of what is known so far: TPE, or a part of Hyperopt.

Bergstra et al., Algorithms for Hyper-Parameter Optimization (NIPS 2011): let l be the density of
the good configs that were tried, g that of the others. The expected improvement of a config rises
with l / g. Both densities are products over the fields, so what is learned of a learning rate holds
for networks of every size; Greff et al. (arXiv 1503.04069) find the two nearly independent.

Hyperopt picks the best of some values for each field by itself. Where values are few it suggests
the same config again and again, and all that can be done is to draw at random instead. Here configs
are drawn as a whole from l, those that may not be tried are left out, and the others are ranked.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.config import Config
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.policy.problem import Array, grown, lowest
from lstm_sweep.search.values.spec import ALGORITHMS
from lstm_sweep.spaces.dimension import Dimension
from lstm_sweep.spaces.space import LISTABLE, Space

#: configs that are compared for one suggestion (as many as Hyperopt compares values)
CANDIDATES = 24
#: points that are drawn until there are so many configs
ROWS = 20 * CANDIDATES
#: standard deviation of the kernel around a lone trial, as a share of the range of a field; for n
#: trials it is n ** (-1 / 5) of that (Scott, Multivariate Density Estimation, 1992)
WIDTH = 0.15

Point = Mapping[str, float]


@dataclass(frozen=True)
class Proposal:
    """A config to try, and the point behind it."""

    config: Config
    point: dict[str, float]


def suggest(
    space: Space,
    good: Sequence[Point],
    others: Sequence[Point],
    accepts: Callable[[Config], bool],
    rng: np.random.Generator,
) -> list[Proposal]:
    """Configs that may be tried, at most `CANDIDATES`, the most promising first; none twice."""
    likely, less = (Density(space, points) for points in (good, others))
    found: dict[Config, tuple[Array, dict[str, float]]] = {}
    drawn = likely.draw(ROWS, rng)
    for row, point in zip(drawn, _points(space, drawn), strict=True):
        config = space.decode(point)
        if config not in found and accepts(config):
            found[config] = row, point
            if len(found) == CANDIDATES:
                break
    if not found:
        return []
    rows = np.array([row for row, _ in found.values()])
    ratios = less.log(rows) - likely.log(rows)  # log(g / l)
    ranked = sorted(zip(ratios, found.items(), strict=True), key=lambda item: item[0])
    return [Proposal(config, point) for _, (config, (_, point)) in ranked]


class Density:
    """A density over a space: of each field a kernel around each point, and an even one.

    A row is a point with numbers as shares of their range and words as places in their list.
    """

    def __init__(self, space: Space, points: Sequence[Point]) -> None:
        self._dimensions = list(space.varying.values())
        #: `<float64>[points, fields]`
        self._centres = _rows(space, points)
        self._width = WIDTH * max(1, len(points)) ** (-1 / 5)

    def log(self, rows: Array) -> Array:
        """Logarithm of the density, `<float64>[rows]`, at `<float64>[rows, fields]`."""
        from scipy.special import logsumexp

        total = np.zeros(len(rows))
        for column, dimension in enumerate(self._dimensions):
            near = self._kernels(dimension, rows[:, column, None], self._centres[None, :, column])
            even = np.full((len(rows), 1), 0.0 if dimension.ends else -np.log(_count(dimension)))
            kernels = np.concatenate([near, even], axis=1)  # [rows, points + 1]
            total += logsumexp(kernels, axis=1) - np.log(kernels.shape[1])
        return total

    def _kernels(self, dimension: Dimension, at: Array, centres: Array) -> Array:
        """Logarithm of normal kernels that are cut off at the ends of the range, or of words."""
        from scipy.special import ndtr

        width = self._width
        if not dimension.ends:
            other = width / max(1, _count(dimension) - 1)
            return np.asarray(np.log(np.where(at == centres, 1 - width, other)))
        inside = ndtr((1 - centres) / width) - ndtr(-centres / width)
        height = np.log(width * np.sqrt(2 * np.pi) * inside)
        return np.asarray(-0.5 * ((at - centres) / width) ** 2 - height)

    def draw(self, count: int, rng: np.random.Generator) -> Array:
        rows = np.empty((count, len(self._dimensions)))
        for column, dimension in enumerate(self._dimensions):
            chosen = rng.integers(len(self._centres) + 1, size=count)
            centres = np.append(self._centres[:, column], np.nan)[chosen]
            share, again = rng.random(count), rng.random(count)
            if dimension.ends:
                rows[:, column] = np.where(np.isnan(centres), share, self._near(centres, share))
            else:
                words = _count(dimension)
                moved = 1 + np.floor(again * (words - 1))
                other = (centres + np.where(share < self._width, moved, 0)) % words
                rows[:, column] = np.where(np.isnan(centres), np.floor(share * words), other)
        return rows

    def _near(self, centres: Array, share: Array) -> Array:
        """Draws from the kernels around `centres`, by the inverse of their distribution."""
        from scipy.special import ndtr, ndtri

        low, high = ndtr(-centres / self._width), ndtr((1 - centres) / self._width)
        drawn = centres + self._width * ndtri(low + share * (high - low))
        return np.asarray(np.clip(drawn, 0.0, 1.0))


def _count(dimension: Dimension) -> int:
    return len(dimension.values() or ())


def _rows(space: Space, points: Sequence[Point]) -> Array:
    rows = np.empty((len(points), len(space.varying)))
    for column, (name, dimension) in enumerate(space.varying.items()):
        low, high = dimension.ends or (0.0, 1.0)
        shares = (np.array([point[name] for point in points]) - low) / (high - low)
        rows[:, column] = np.clip(shares, 0.0, 1.0) if dimension.ends else shares
    return rows


def _points(space: Space, rows: Array) -> Iterator[dict[str, float]]:
    ends = [dimension.ends or (0.0, 1.0) for dimension in space.varying.values()]
    low, high = np.array(ends, dtype=np.float64).reshape(-1, 2).T
    for raws in (low + rows * (high - low)).tolist():
        yield dict(zip(space.varying, raws, strict=True))


#: trials that TPE looks at: the best ones, and of the others the last; its time grows with them
HISTORY = 300
#: of these, how many TPE counts as good, at most (Hyperopt's own bound)
GOOD = 25


@dataclass(frozen=True)
class Observation:
    """A trial that was begun, and what is known of it."""

    number: int
    config: Config
    #: raw number of each varying field; empty if the trial lies outside of the space
    point: Mapping[str, float]
    #: nats; None: it failed, so that TPE keeps away, or is not known yet
    loss: float | None


class Observed:
    """Trials that were begun, by their number."""

    def __init__(self) -> None:
        self.configs: set[Config] = set()
        self._trials: dict[int, tuple[Config, Point]] = {}
        #: `<float64>[2, trials]`: whether the loss of each is still to come (NaN outside of the
        #: space), and its loss (NaN: none)
        self._known = np.full((2, 64), np.nan)

    def put(
        self, number: int, config: Config, point: Point, loss: float | None, *, pending: bool
    ) -> None:
        self._known = grown(self._known, number + 1)
        self._known[0, number] = float(pending) if point else np.nan
        self._known[1, number] = np.nan if pending or loss is None else loss
        self._trials[number] = config, point
        self.configs.add(config)

    def point(self, number: int) -> Point:
        return self._trials[number][1] if number in self._trials else {}

    @property
    def inside(self) -> int:
        return int(np.count_nonzero(~np.isnan(self._known[0])))

    @property
    def scored(self) -> NDArray[np.intp]:
        return np.flatnonzero(~np.isnan(self._known).any(axis=0))

    def history(self) -> list[Observation]:
        """All under way in the space, the best, and of the others the last, up to `HISTORY`."""
        pending, losses = self._known
        numbers = np.flatnonzero(~np.isnan(pending)).tolist()
        if len(numbers) > HISTORY:
            kept = {*lowest(self.scored, losses, GOOD), *np.flatnonzero(pending == 1).tolist()}
            rest = (number for number in reversed(numbers) if number not in kept)
            kept.update(itertools.islice(rest, max(0, HISTORY - len(kept))))
            numbers = sorted(kept)
        found = ((number, float(losses[number])) for number in numbers)
        return [
            Observation(number, *self._trials[number], None if math.isnan(loss) else loss)
            for number, loss in found
        ]


#: trials that spread over the space before TPE begins to learn
STARTUP = 10
#: losses without which TPE has nothing to learn from
FEWEST_LOSSES = 4
#: suggestions asked for one trial before a point is drawn at random
SUGGESTIONS = 20
#: of n trials, this times the square root of n count as good to TPE (Hyperopt's own number)
GAMMA = 0.25
#: random points drawn for one trial before the space counts as used up
DRAWS = 2_000
#: hypercubes that are drawn while points of earlier ones are turned down
HYPERCUBES = 50


class Proposer:
    """Suggests configs from what is known of earlier ones.

    The first `STARTUP` are points of a Latin hypercube: of each field every part of its range is
    tried as often as any other (McKay, Beckman, Conover: Technometrics 21, 1979). No config is
    proposed twice, and none that `admits` turns down; those are drawn again, and TPE never hears of
    them.

    To TPE a trial under way counts as one that has failed, which keeps suggestions away from it.
    """

    def __init__(
        self,
        space: Space,
        *,
        seed: int,
        algorithm: str = "tpe",
        admits: Callable[[Config], bool] = lambda config: True,
    ) -> None:
        import hyperopt

        if algorithm not in ALGORITHMS:
            raise InputError(f"algo is '{algorithm}': expected one of {', '.join(ALGORITHMS)}")
        self._space, self._seed, self._admits = space, seed, admits
        self._algorithm = algorithm
        expression = space.expression() or {"fixed": 0}  # Hyperopt has no empty space
        self._domain = hyperopt.base.Domain(lambda point: 0.0, expression)
        self._first = list(self._spread()) if algorithm != "random" else []

    def candidates(self, number: int, seen: Observed) -> Iterator[Proposal]:
        """Configs for trial `number` that may be proposed, each once, the most promising first."""
        proposed: set[Config] = set()
        for proposal in self._suggestions(number, seen):
            used = proposal.config in seen.configs or proposal.config in proposed
            if not used and self._admits(proposal.config):
                proposed.add(proposal.config)
                yield proposal
        yield from self._leftovers(number, proposed.union(seen.configs))

    def _suggestions(self, number: int, seen: Observed) -> Iterator[Proposal]:
        import hyperopt

        if not self._space.varying:
            return
        if seen.inside < STARTUP:
            yield from self._first
        if self._algorithm == "tpe" and len(seen.scored) >= FEWEST_LOSSES:
            yield from self._by_acquisition(number, seen)
        learn = self._learner(seen)
        listable = (self._space.size() or math.inf) <= LISTABLE
        for attempt in range(SUGGESTIONS if listable else DRAWS):
            suggest, trials = (
                learn if attempt < SUGGESTIONS else (hyperopt.rand.suggest, hyperopt.Trials())
            )
            seed = _seed(self._seed, number, attempt)
            [document] = suggest([number], self._domain, trials, seed)
            drawn = document["misc"]["vals"]
            point = {name: float(raws[0]) for name, raws in drawn.items()}
            yield Proposal(self._space.decode(point), point)

    def _spread(self) -> Iterator[Proposal]:
        from scipy.stats import qmc

        varying = self._space.varying
        if not varying:
            return
        rng = np.random.default_rng(_seed(self._seed))
        cube = qmc.LatinHypercube(len(varying), rng=rng)
        found: set[Config] = set()
        for row in (row for _ in range(HYPERCUBES) for row in cube.random(STARTUP)):
            parts = zip(varying.items(), row, strict=True)
            point = {name: dimension.at(float(share)) for (name, dimension), share in parts}
            config = self._space.decode(point)
            if config not in found and self._admits(config):
                found.add(config)
                yield Proposal(config, point)
            if len(found) == STARTUP:
                return

    def _learner(self, seen: Observed) -> tuple[Any, Any]:
        import hyperopt

        if self._algorithm not in ("hyperopt", "anneal") or len(seen.scored) < FEWEST_LOSSES:
            return hyperopt.rand.suggest, hyperopt.Trials()
        documents = [self._document(trial) for trial in seen.history()]
        trials = hyperopt.trials_from_docs(documents, validate=False)
        if self._algorithm == "anneal":
            return hyperopt.anneal.suggest, trials
        # Hyperopt counts gamma * sqrt(trials) as good; those left out count too
        gamma = GAMMA * math.sqrt(seen.inside / len(documents))
        return partial(hyperopt.tpe.suggest, n_startup_jobs=0, gamma=gamma), trials

    def _by_acquisition(self, number: int, seen: Observed) -> Iterator[Proposal]:

        def accepts(config: Config) -> bool:
            return config not in seen.configs and self._admits(config)

        ranked = sorted(seen.history(), key=lambda o: math.inf if o.loss is None else o.loss)
        points = [trial.point for trial in ranked]
        known = sum(trial.loss is not None for trial in ranked)
        count = min(math.ceil(GAMMA * math.sqrt(seen.inside)), GOOD, known)
        rng = np.random.default_rng(_seed(self._seed, number))
        yield from suggest(self._space, points[:count], points[count:], accepts, rng)

    def _document(self, trial: Observation) -> dict[str, Any]:
        """A trial as Hyperopt keeps it.

        A failure has no loss: Hyperopt would use one even though the trial failed, and from a loss
        that is not a number it would learn nothing. One without a loss counts as bad.
        """
        import hyperopt

        result: dict[str, Any] = {"status": hyperopt.STATUS_FAIL}
        if trial.loss is not None:
            result = {"status": hyperopt.STATUS_OK, "loss": trial.loss}
        is_place = {name: not self._space[name].ends for name in trial.point}  # of a word
        raws = {name: int(raw) if is_place[name] else raw for name, raw in trial.point.items()}
        return {
            "tid": trial.number,
            "state": hyperopt.JOB_STATE_DONE,
            "spec": None,
            "result": result,
            "misc": {
                "tid": trial.number,
                "idxs": {name: [trial.number] for name in raws},
                "vals": {name: [raw] for name, raw in raws.items()},
            },
        }

    def _leftovers(self, number: int, used: set[Config]) -> Iterator[Proposal]:
        """Points of a space that can be listed, drawn from those that are left."""
        if (self._space.size() or math.inf) > LISTABLE:
            return
        left = [c for c in self._space.points() if c not in used and self._admits(c)]
        rng = np.random.default_rng(_seed(self._seed, number, DRAWS))
        for index in rng.permutation(len(left)):
            yield Proposal(left[index], self._space.encode(left[index]))


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0]) >> 1
