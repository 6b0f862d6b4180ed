"""How long a sweep still takes, by what its policy knows of its trials.

While the search goes on, nobody knows which trial will be the best in the end, and so what leading
and training it again costs. The rest of the sweep is drawn many times, with the best trial so far
and with better ones; what they take on average is the estimate, and how they differ its range.

What trials usually take is told by `arrays.FEW` of them, so that an estimate takes no longer the
more there are.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np

from lstm_sweep.search.policy import halving
from lstm_sweep.search.policy.allocation import Contender
from lstm_sweep.search.policy.arrays import FEW, Array, grown, some_of
from lstm_sweep.search.policy.confirmation import GRACE_S, SLACK, Reserve, makespan
from lstm_sweep.search.policy.forecast import INTERVAL
from lstm_sweep.search.policy.trial_seconds import TrialSeconds
from lstm_sweep.search.progress import TrialSnapshot
from lstm_sweep.search.trial import Phase

if TYPE_CHECKING:
    from lstm_sweep.search.policy.policy import Policy

#: how often the rest of a sweep is drawn
DRAWS = 200
#: probability that what a sweep takes is in the range of an estimate, by what is known
RANGE = 0.8
#: standard deviations from the middle of a normal distribution to an end of `forecast.INTERVAL`
WIDE = statistics.NormalDist().inv_cdf((1 + INTERVAL) / 2)
#: standard deviation of what further runs take, as a share of what is predicted: one of ten takes
#: longer than `SLACK` times as long
RUNS_SPREAD = (SLACK - 1) / statistics.NormalDist().inv_cdf((1 + RANGE) / 2)
#: trials that may become the best, at most
MOST_CONTENDERS = 40
#: by how much a trial that is better than the best so far costs more, at most
MOST_GROWTH = 2.0
#: numbers that are spread as a normal distribution says, `<float64>[draws]`
_NORMAL = np.array(
    [statistics.NormalDist().inv_cdf((number + 0.5) / DRAWS) for number in range(DRAWS)]
)


@dataclass(frozen=True)
class Estimate:
    """How long a sweep still takes, in seconds."""

    seconds: float
    #: it takes between these with a probability of `RANGE`
    low: float
    high: float

    @classmethod
    def of(cls, drawn: Array) -> Self:
        """By what it takes in many draws, `<float64>[draws]`."""
        low, high = np.quantile(drawn, ((1 - RANGE) / 2, (1 + RANGE) / 2))
        mean = float(drawn.mean())
        return cls(mean, min(mean, float(low)), max(mean, float(high)))

    @classmethod
    def exactly(cls, seconds: float) -> Self:
        """One of which no spread is known."""
        return cls(seconds, seconds, seconds)


class TimeLeft:
    """The time that one sweep still takes at one moment."""

    def __init__(
        self, policy: Policy, gone: float, slots: int, shares: Mapping[int, float]
    ) -> None:
        """It is `gone` seconds since the sweep began.

        `shares` says how much of the round that it is in each running trial has done, by its
        number.
        """
        self._policy, self._plan, self._slots = policy, policy.plan, max(1, slots)
        #: trials of the search that are still to be begun
        self._new = 0
        self._left = None if self._plan.seconds is None else max(0.0, self._plan.seconds - gone)
        self._trials, self._seconds = policy.trials, TrialSeconds(policy, shares)
        self._first = [one for one in self._trials if one.trial.phase is not Phase.CONFIRM]
        self._searched = [one for one in self._first if one.trial.phase is Phase.SEARCH]
        self._rungs = halving.rungs(policy.problem.rounds, policy.problem.first_rung)

    def estimate(self) -> Estimate | None:
        """How long it takes to the end of the sweep; None if too little is known."""
        left, policy = self._left, self._policy
        kept = policy.confirmation.reserve(left) if not policy.stop else Reserve(0)
        if policy.confirms or policy.stop:
            return self._confirming(kept)
        known = [one for one in self._searched if one.round_seconds or one.ended]
        if not known:
            return None if left is None else Estimate.exactly(left)
        self._new = max(0, self._plan.trials - kept.trials - len(self._trials))
        draws = _Draws(self._new, len(known), self._contenders[1])
        if policy.problem.pausable and self._plan.halving:
            search = self._halving_seconds(draws, known)
        else:
            search = self._whole_seconds(draws, known)
        return Estimate.of(self._with_deadline(search, draws, kept))

    def _with_deadline(self, search: Array, draws: _Draws, kept: Reserve) -> Array:
        """Seconds to the end, `<float64>[draws]`; the search may be cut for further runs."""
        further = search + draws.runs * self._further(draws, kept)
        if self._left is None:
            return further
        until = max(0.0, self._left - kept.seconds)
        cut = until + draws.runs * _of_runs(kept)
        return np.minimum(np.where(search < until, further, cut), self._left)

    def _open(self, phase: Phase) -> list[TrialSnapshot]:
        """Trials of a phase that run."""
        own = (one for one in self._trials if one.trial.phase is phase)
        return [one for one in own if not one.ended and not one.paused]

    @cached_property
    def _best(self) -> list[TrialSnapshot]:
        """First runs that a sweep may train again, the best by now first, those under way too."""
        return self._policy.confirmation.best_so_far()

    @cached_property
    def _contenders(self) -> tuple[list[TrialSnapshot], Array]:
        """The trials that may become the best, and loss, low and high of the forecast of each.

        Those without a forecast stay as they are, and so do those that the search leaves there.
        """
        numbers = [one.trial.number for one in self._best]
        size = max(numbers, default=-1) + 1
        forecasts = np.stack([grown(row, size)[numbers] for row in self._policy.forecasts()])
        losses = np.array([one.best_loss for one in self._best], np.float64)
        found = np.where(np.isnan(forecasts[0]), losses, forecasts)
        for index in np.argsort(forecasts[0], kind="stable")[:FEW]:
            if self._stays(self._best[index], float(forecasts[0, index])):
                found[:, index] = losses[index]
        chosen = np.argsort(found[0], kind="stable")[:MOST_CONTENDERS]
        return [self._best[index] for index in chosen], found[:, chosen]

    def _stays(self, one: TrialSnapshot, forecast: float) -> bool:
        """Whether a paused trial is neither promoted nor expected to become the best of all."""
        own = self._losses_at_rungs(one)
        if not (own and one.paused) or forecast < self._best_ended:
            return False
        *before, there = self._at_rungs[: len(own)]
        coming = 0 if before else self._new
        places = (len(there) + coming) // halving.FACTOR
        return bisect_right(there, own[-1]) > places or any(own[-1] > lower[0] for lower in before)

    @cached_property
    def _at_rungs(self) -> list[list[float]]:
        """Losses of all trials that have come to a rung, as they are compared there, in order."""
        each = [self._losses_at_rungs(one) for one in self._searched]
        numbers = range(len(self._rungs))
        return [sorted(found[n] for found in each if n < len(found)) for n in numbers]

    def _losses_at_rungs(self, one: TrialSnapshot) -> list[float]:
        since = self._policy.problem.first_judged(one.trial.config)
        compared = Contender(one.trial.number, one.best_so_far, False, False, since)
        return compared.at(self._rungs) if len(one.rounds) >= since else []

    @cached_property
    def _best_ended(self) -> float:
        """The lowest loss of the trials that have ended; infinite if there is none."""
        ended = (one.ranked_loss for one in self._best if one.ended)
        return min((loss for loss in ended if loss is not None), default=math.inf)

    # the search

    def _whole_seconds(self, draws: _Draws, known: Sequence[TrialSnapshot]) -> Array:
        """Seconds to the end of the search if trials are not paused, `<float64>[draws]`.

        What trials took that have ended, be they cut short or not, is what new ones take.
        """
        ended = [one.seconds for one in known if one.ended]
        costs, some = self._policy.costs, some_of(known)
        whole = [costs.trial_seconds(one.trial.config, one.trial.rounds) for one in some]
        running = [self._seconds.rest(one) for one in self._open(Phase.SEARCH)]
        tail = statistics.fmean(ended or whole) if draws.new else 0.0
        work = (sum(running) + draws.of_all(ended or whole)) / self._slots
        # slots run empty one after the other while the last trials go on
        rest = tail * (self._slots - 1) / (2 * self._slots)
        return np.asarray(np.maximum(work + rest, max(running, default=0.0)))

    def _halving_seconds(self, draws: _Draws, known: Sequence[TrialSnapshot]) -> Array:
        """The same with halving.

        Half of the slots are for leaders as long as the one that would end best after all rounds is
        trained. On the others, and then on all, each new trial comes to its first rung, and of
        those at a rung one of `halving.FACTOR` goes on to the next.
        """
        seconds, slots = self._seconds, self._slots
        begun = self._open(Phase.SEARCH)
        others = draws.of_all([seconds.to_first_rung(one) for one in some_of(known)])
        best, for_leaders = self._contenders[0], max(1, slots // 2)
        leader = best[0] if best else None
        others += sum(seconds.to_next_rung(one) for one in begun if one is not leader)
        others += seconds.promoted(self._searched, draws.new, leader)
        if not best:
            return np.asarray(others / max(1, slots - for_leaders))
        leading = draws.order[0]
        rest = np.array([seconds.rest(one) for one in best])[leading]
        until = (others + for_leaders * rest) / slots
        if slots > 1:
            until = np.minimum(until, others / (slots - for_leaders))
        each = np.array([seconds.each(one) for one in best])[leading]
        whole = self._better_seconds(draws, self._policy.problem.rounds * each)
        found = draws.before * until
        led = np.minimum(found, rest) + whole
        new_leader = np.maximum(found + whole, (others + for_leaders * led) / slots)
        return np.asarray(np.where(draws.changes, new_leader, np.maximum(until, rest)))

    def _better_seconds(self, draws: _Draws, than: Array) -> Array:
        """Seconds of all rounds of trials that are better than some that take so many.

        It is one of the costlier half as a rule, but takes at most `MOST_GROWTH` times as much.
        """
        each = draws.of_costlier([self._seconds.each(one) for one in some_of(self._searched)])
        usual = self._seconds.start + self._policy.problem.rounds * each
        return np.maximum(than, np.minimum(usual, MOST_GROWTH * than))

    # the further runs

    def _further(self, draws: _Draws, kept: Reserve) -> Array:
        """Seconds of the further runs, once the search is over, `<float64>[draws]`.

        If another config becomes the best until then, each may cost more.
        """
        confirmation, best = self._policy.confirmation, self._contenders[0]
        if not (best and kept.trials):
            return np.full(DRAWS, _of_runs(kept))
        configs = [one.trial.config for one in best[: self._plan.confirm_configs]]
        places = [configs.index(config) for config in confirmation.order(configs, kept.trials)]
        needs = np.array([self._seconds.again(one) for one in best])
        same = needs[draws.order[places]]
        better = self._better_seconds(draws, same)
        return _makespans(np.where(draws.changes, better, same), self._slots)

    def _confirming(self, kept: Reserve) -> Estimate:
        """How long it takes to the end, once the search is over."""
        first = {one.trial.config: one for one in reversed(self._first)}
        running = [self._tail(one) for one in self._open(Phase.SEARCH)]
        for one in self._open(Phase.CONFIRM):
            running.append(self._seconds.rest_again(one, first.get(one.trial.config, one)))
        found = makespan([*running, *self._to_come(kept)], self._slots)
        most = math.inf if self._left is None else self._left
        return Estimate(*(min(most, share * found) for share in (1.0, 2 - SLACK, SLACK)))

    def _tail(self, one: TrialSnapshot) -> float:
        """Seconds that a trial of the search still takes once that is over.

        Where trials can be paused, one that is not the leader ends at its next rung.
        """
        if not (self._policy.problem.pausable and self._plan.halving):
            return self._seconds.rest(one)
        return self._seconds.to_next_rung(one)

    def _to_come(self, kept: Reserve) -> list[float]:
        """Seconds of the further runs that are not begun, in order."""
        confirmation = self._policy.confirmation
        # those that run still may be among the best when they have ended
        best = self._best[: self._plan.confirm_configs]
        needs = {one.trial.config: self._seconds.again(one) for one in best}
        begun = sum(one.trial.phase is Phase.CONFIRM for one in self._trials)
        return [needs[config] for config in confirmation.order(list(needs), kept.trials, begun)]


class _Draws:
    """What chance decides of the rest of a sweep, many times; the same at each look."""

    def __init__(self, new: int, known: int, forecasts: Array) -> None:
        """`new` trials are still to be begun, so many are `known`.

        `forecasts` are loss, low and high of those that may become the best,
        `<float64>[3, trials]`.
        """
        self.new = new
        self._random = np.random.default_rng(0)
        #: whether one of the new trials becomes better than all that there are: each trial is the
        #: best with the same probability, `<bool>[draws]`
        self.changes = self._evenly() < new / (new + known)
        #: share of the new trials that is begun before that one, `<float64>[draws]`
        self.before = self._evenly()
        #: what further runs take, as a share of what is predicted, `<float64>[draws]`
        self.runs = 1 + RUNS_SPREAD * self._random.permutation(_NORMAL)
        self._costlier, self._deviations = self._evenly(), self._random.standard_normal(DRAWS)
        #: indices of those that may become the best in the order in which they end,
        #: `<int>[trials, draws]`
        self.order = np.argsort(self._losses(forecasts), axis=0)

    def _evenly(self) -> Array:
        """Numbers that are spread evenly between 0 and 1, in any order, `<float64>[draws]`."""
        return self._random.permutation((np.arange(DRAWS) + 0.5) / DRAWS)

    def of_all(self, seconds: Sequence[float]) -> Array:
        """Seconds of all new trials if each takes what one of the known did, `<float64>[draws]`.

        A sum of many is distributed normally. That another one costs the mean is not known better
        than by so many; one that deviates by all of the mean is added, for the first few.
        """
        mean, count = statistics.fmean(seconds), len(seconds)
        variance = (statistics.pvariance(seconds) * count + mean**2) / count
        spread = math.sqrt(variance * (self.new + self.new**2 / count))
        return np.asarray(np.maximum(0.0, self.new * mean + spread * self._deviations))

    def _losses(self, forecasts: Array) -> Array:
        """Losses in the end, `<float64>[trials, draws]`, as often above as below the forecasts."""
        loss, low, high = (row[:, None] for row in forecasts)
        deviations = self._random.standard_normal((len(loss), DRAWS)) / WIDE
        end = np.where(deviations < 0, low, high)
        return np.asarray(loss + np.abs(deviations) * (end - loss))

    def of_costlier(self, seconds: Sequence[float]) -> Array:
        """One of the costlier half of some seconds, `<float64>[draws]`."""
        half = np.array(sorted(seconds)[len(seconds) // 2 :])
        return np.asarray(half[(self._costlier * len(half)).astype(int)])


def _makespans(runs: Array, slots: int) -> Array:
    """`makespan` of each draw, `<float64>[draws]`, by the seconds of runs in order."""
    free = np.zeros((max(1, min(slots, len(runs))), DRAWS))
    for run in runs:
        free[free.argmin(axis=0), np.arange(DRAWS)] += run
    return np.asarray(free.max(axis=0))


def _of_runs(kept: Reserve) -> float:
    """Seconds that further runs are predicted to take of those that are kept."""
    return max(0.0, kept.seconds - GRACE_S) / SLACK
