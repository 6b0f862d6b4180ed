"""What to try next, as a pure function of what is known so far: TPE, or a part of Hyperopt."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lstm_sweep.models.config import Config
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.policy import tpe
from lstm_sweep.search.policy.arrays import Array, grown, lowest
from lstm_sweep.search.values.plan import ALGORITHMS
from lstm_sweep.spaces.space import LISTABLE, Space

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
    #: whether the trial is still under way
    pending: bool = False


@dataclass(frozen=True)
class Observations:
    """What is known of all trials that were begun, at one moment."""

    #: configs of all of them
    configs: Collection[Config]
    #: how many lie in the space, and how many of these have a loss
    inside: int
    known: int
    #: those in the space that are worth knowing, in order: all under way, the best ones, and of the
    #: others the last, up to `HISTORY`
    history: Sequence[Observation]

    @staticmethod
    def of(trials: Iterable[Observation]) -> Observations:
        """What a list of trials says, which are in order of their numbers."""
        observed, losses = ObservedTrials(), np.full(0, np.nan)
        for one in trials:
            observed.put(one.number, one.config, one.point, pending=one.pending)
            losses = grown(losses, one.number + 1)
            losses[one.number] = np.nan if one.loss is None else one.loss
        return observed.observations(losses)


class ObservedTrials:
    """Trials by their number; arrays are by the number of a trial."""

    def __init__(self) -> None:
        self._configs: dict[int, Config] = {}
        self._points: dict[int, Mapping[str, float]] = {}
        self._used: set[Config] = set()
        self._inside, self._pending = np.zeros(64, bool), np.zeros(64, bool)

    def put(
        self, number: int, config: Config, point: Mapping[str, float], *, pending: bool
    ) -> None:
        """Know a trial, its point in the space, and whether its loss is still to come."""
        self._inside = grown(self._inside, number + 1)
        self._pending = grown(self._pending, number + 1)
        self._configs[number], self._points[number] = config, point
        self._used.add(config)
        self._inside[number], self._pending[number] = bool(point), pending

    def point(self, number: int) -> Mapping[str, float] | None:
        """The point of a trial that was put; None if it was not."""
        return self._points.get(number)

    def observations(self, losses: Array) -> Observations:
        """What is known; `losses` are NaN for trials without one."""
        size = len(self._inside)
        values = np.where(self._pending, np.nan, grown(losses, size)[:size])
        numbers = np.flatnonzero(self._inside)
        inside, known = len(numbers), np.count_nonzero(~np.isnan(values[numbers]))
        if inside > HISTORY:
            kept = set(lowest(numbers[~np.isnan(values[numbers])], values, GOOD))
            kept |= set(np.flatnonzero(self._inside & self._pending).tolist())
            for number in reversed(numbers[-HISTORY:].tolist()):
                if len(kept) >= HISTORY:
                    break
                kept.add(number)
            numbers = np.array(sorted(kept))
        history = [self._observation(number, float(values[number])) for number in numbers.tolist()]
        return Observations(self._used, inside, int(known), history)

    def _observation(self, number: int, loss: float) -> Observation:
        return Observation(
            number,
            self._configs[number],
            self._points[number],
            None if math.isnan(loss) else loss,
            pending=bool(self._pending[number]),
        )


#: the loss that TPE gives a trial under way, or one that has failed: worse than all others
PENDING_VALUE = math.inf
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


@dataclass(frozen=True)
class Proposal:
    """A config to try, and the point behind it."""

    config: Config
    point: dict[str, float]
    #: logarithm of the expected improvement, up to a constant; None if nothing is known of it
    acquisition: float | None = None


class Proposer:
    """Suggests configs from what is known of earlier ones.

    The first `STARTUP` are points of a Latin hypercube: of each field every part of its range is
    tried as often as any other (McKay, Beckman, Conover: Technometrics 21, 1979). No config is
    proposed twice, and none that `admits` turns down; those are drawn again, and TPE never hears of
    them.

    To TPE a trial under way counts as one that has failed, with `PENDING_VALUE` as its loss, which
    keeps suggestions away from it.
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

    def propose(self, number: int, seen: Observations) -> Proposal | None:
        """A config for trial `number`; None if the space has no other left."""
        return next(self.candidates(number, seen), None)

    def candidates(self, number: int, seen: Observations) -> Iterator[Proposal]:
        """Configs for trial `number` that may be proposed, each once, the most promising first."""
        proposed: set[Config] = set()
        for proposal in self._suggestions(number, seen):
            used = proposal.config in seen.configs or proposal.config in proposed
            if not used and self._admits(proposal.config):
                proposed.add(proposal.config)
                yield proposal
        yield from self._leftovers(number, proposed.union(seen.configs))

    def _suggestions(self, number: int, seen: Observations) -> Iterator[Proposal]:
        import hyperopt

        if not self._space.varying:
            return
        if seen.inside < STARTUP:
            yield from self._first
        if self._algorithm == "tpe" and seen.known >= FEWEST_LOSSES:
            yield from self._by_acquisition(
                number, seen, lambda config: config not in seen.configs and self._admits(config)
            )
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
        """The first points: admitted, no two alike, evenly spread."""
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

    def _learner(self, seen: Observations) -> tuple[Any, Any]:
        """What of Hyperopt suggests the next point, and the trials it learns from."""
        import hyperopt

        if self._algorithm not in ("hyperopt", "anneal") or seen.known < FEWEST_LOSSES:
            return hyperopt.rand.suggest, hyperopt.Trials()
        documents = [self._document(trial) for trial in seen.history]
        trials = hyperopt.trials_from_docs(documents, validate=False)
        if self._algorithm == "anneal":
            return hyperopt.anneal.suggest, trials
        # Hyperopt counts gamma * sqrt(trials) as good; those left out count too
        gamma = GAMMA * math.sqrt(seen.inside / len(seen.history))
        return partial(hyperopt.tpe.suggest, n_startup_jobs=0, gamma=gamma), trials

    def _by_acquisition(
        self, number: int, seen: Observations, accepts: Callable[[Config], bool]
    ) -> Iterator[Proposal]:
        """Yield configs that TPE draws, each with its acquisition."""
        history = seen.history

        def rank(trial: Observation) -> float:
            return PENDING_VALUE if trial.loss is None else trial.loss

        ranked = [trial.point for trial in sorted(history, key=rank)]
        count = min(math.ceil(GAMMA * math.sqrt(seen.inside)), GOOD, _known(history))
        rng = np.random.default_rng(_seed(self._seed, number))
        found = tpe.suggest(self._space, ranked[:count], ranked[count:], accepts, rng)
        yield from (Proposal(*one) for one in found)

    def _document(self, trial: Observation) -> dict[str, Any]:
        """A trial as Hyperopt keeps it.

        A failure has no loss: Hyperopt would use one even though the trial failed, and from a loss
        that is not a number it would learn nothing. One without a loss counts as bad.
        """
        import hyperopt

        result: dict[str, Any] = {"status": hyperopt.STATUS_FAIL}
        if trial.loss is not None:
            result = {"status": hyperopt.STATUS_OK, "loss": trial.loss}
        raws = {name: self._space[name].raw(value) for name, value in trial.point.items()}
        return {
            "tid": trial.number,
            "state": hyperopt.JOB_STATE_DONE,
            "spec": None,
            "result": result,
            "misc": {
                "tid": trial.number,
                "cmd": self._domain.cmd,
                "workdir": self._domain.workdir,
                "idxs": {name: [trial.number] for name in raws},
                "vals": {name: [raw] for name, raw in raws.items()},
            },
            "exp_key": None,
            "owner": None,
            "version": 0,
            "book_time": None,
            "refresh_time": None,
        }

    def _leftovers(self, number: int, used: set[Config]) -> Iterator[Proposal]:
        """Points of a space that can be listed, drawn from those that are left."""
        if (self._space.size() or math.inf) > LISTABLE:
            return
        left = [c for c in self._space.points() if c not in used and self._admits(c)]
        rng = np.random.default_rng(_seed(self._seed, number, DRAWS))
        for index in rng.permutation(len(left)):
            yield Proposal(left[index], self._space.encode(left[index]))


def _known(trials: Sequence[Observation]) -> int:
    return sum(trial.loss is not None for trial in trials)


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0]) >> 1
