"""Successive halving: which trials of a search wait with a checkpoint, go on, or are cut short.

Trials wait at rungs with a checkpoint, as in asynchronous successive halving with promotions (Li et
al., A System for Massively Parallel Hyperparameter Tuning, arXiv 1810.05934): a trial is promoted
from a rung once it is among the best 1/factor of all that have come there, unless another one was
better at an earlier rung. Half of the slots are for the leaders all the time, the trials that would
end best; they are not asked at rungs. The other half are for promotions and for new trials.

Trials that cannot be paused, as those of templates, are stopped instead: at each rung a trial goes
on if its loss is among the best 1/factor of all that have reached this rung so far.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.search.policy.problem import SearchProblem
from lstm_sweep.search.policy.trials import Array, Slots, Trials, grown, lowest, median
from lstm_sweep.search.values.progress import TrialProgress
from lstm_sweep.search.values.trial import Ended, Outcome, Paused, Phase

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


class Extrapolation:
    """The loss that each trial would reach after `rounds` rounds, by its number."""

    def __init__(self, rounds: int, first: int = 1) -> None:
        self._marks = [*rungs(rounds, first), rounds]
        #: from each mark but the last, ratios of losses to the next one, in order
        self._steps: list[list[float]] = [[] for _ in self._marks[1:]]
        #: those of each trial, with the mark that they are from
        self._own: dict[int, list[tuple[int, float]]] = {}
        #: of each trial, by its number: the loss at its last mark, which mark, and the last loss
        self._at_mark, self._last = np.full(64, np.nan), np.full(64, np.nan)
        self._mark = np.zeros(64, int)
        self._losses: Array | None = None

    def put(self, number: int, best_so_far: Sequence[float], *, over: bool = False) -> None:
        """Know the best loss of a trial after each round; an empty one is that of a failure.

        One that is `over` has come to its own end, so it would come no further.
        """
        for mark, step in self._own.pop(number, ()):
            del self._steps[mark][bisect_left(self._steps[mark], step)]
        self._losses = None
        self._make_room(number + 1)
        self._at_mark[number] = self._last[number] = np.nan
        if not best_so_far:
            return
        self._own[number] = steps = self._steps_of(best_so_far)
        for mark, step in steps:
            insort(self._steps[mark], step)
        if math.isfinite(best_so_far[-1]):
            come = self._marks[-1] if over else len(best_so_far)
            reached = max(0, bisect_right(self._marks, come) - 1)
            self._mark[number], self._last[number] = reached, best_so_far[-1]
            self._at_mark[number] = best_so_far[min(self._marks[reached], len(best_so_far)) - 1]

    def _make_room(self, size: int) -> None:
        self._at_mark, self._last = grown(self._at_mark, size), grown(self._last, size)
        self._mark = grown(self._mark, size)

    def _steps_of(self, losses: Sequence[float]) -> list[tuple[int, float]]:
        found = []
        for index, (mark, following) in enumerate(zip(self._marks, self._marks[1:], strict=False)):
            if len(losses) >= following and 0 < losses[mark - 1] < math.inf:
                found.append((index, losses[following - 1] / losses[mark - 1]))
        return found

    def losses(self) -> Array:
        """`<float64>[numbers]`, NaN where a trial has no finite loss; not to be written to."""
        if self._losses is None:
            with np.errstate(all="ignore"):
                grown_out = self._at_mark * self._to_end()[self._mark]
                cut = np.where(grown_out < self._last, grown_out, self._last)
                self._losses = np.where(self._at_mark < math.inf, cut, self._last)
        return self._losses

    def _to_end(self) -> Array:
        """By what a loss at each mark is multiplied."""
        ratios = [1.0]
        for steps in reversed(self._steps):
            ratios.append(ratios[-1] * (median(steps) if steps else 1.0))
        return np.array(ratios[::-1])


Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Contender:
    """A trial of the search that has a finite loss, as it is compared with others."""

    number: int
    #: lowest validation loss so far after each round
    best_so_far: Sequence[float]
    #: whether it has ended, so that it gets no further round
    ended: bool
    #: whether it waits, with a checkpoint
    paused: bool
    #: round before which it is not judged, since it has taken too few steps until then
    judged_from: int = 1

    def at(self, rungs: Sequence[int]) -> list[float]:
        """Its loss at each of the rungs that it has come to.

        At the last one before `judged_from`, by which it is judged first, that is the loss after
        `judged_from`. At those before it the others are compared with what it had there.
        """
        reached = rungs[: bisect_right(rungs, len(self.best_so_far))]
        found = [self.best_so_far[rung - 1] for rung in reached]
        if late := bisect_right(rungs, self.judged_from):
            found[late - 1] = self.best_so_far[self.judged_from - 1]
        return found


class Standings:
    """How trials compare, kept up to date as they change; arrays are by the number of a trial."""

    def __init__(self, rungs: Sequence[int], forecasts: Callable[[], Array]) -> None:
        """`rungs` are the rounds after which trials are compared.

        `forecasts` gives the loss that each trial is expected to have when the search is over.
        """
        self._rungs, self._forecasts = rungs, forecasts
        #: of each trial the losses at the rungs that it has come to
        self._entered: dict[int, list[float]] = {}
        #: losses of all that have come to a rung, as they were there, in order
        self._losses: list[list[float]] = [[] for _ in rungs]
        #: last loss of each trial; the rung that it has come to, -1 before the first, and its loss
        self._last, self._at_rung = np.full(64, np.nan), np.full(64, np.nan)
        self._rung = np.zeros(64, int)
        self._known, self._ended, self._paused = (np.zeros(64, bool) for _ in range(3))

    def __contains__(self, number: int) -> bool:
        return number in self._entered

    def put(self, one: Contender) -> None:
        """Compare a trial from now on, as it is."""
        self.drop(one.number)
        number, found = one.number, one.at(self._rungs)
        for losses, loss in zip(self._losses, found, strict=False):
            insort(losses, loss)
        self._entered[number] = found
        self._known[number], self._ended[number], self._paused[number] = True, one.ended, one.paused
        self._last[number], self._rung[number] = one.best_so_far[-1], len(found) - 1
        self._at_rung[number] = found[-1] if found else one.best_so_far[0]

    def drop(self, number: int) -> None:
        """Do not compare a trial any more."""
        self._make_room(number + 1)
        for losses, loss in zip(self._losses, self._entered.pop(number, ()), strict=False):
            del losses[bisect_left(losses, loss)]
        self._known[number] = False

    def _make_room(self, size: int) -> None:
        self._last, self._at_rung = grown(self._last, size), grown(self._at_rung, size)
        self._rung, self._known = grown(self._rung, size), grown(self._known, size)
        self._ended, self._paused = grown(self._ended, size), grown(self._paused, size)

    def forecast(self, number: int) -> float:
        """The loss that a trial is expected to have when the search is over."""
        return float(self._forecasts()[number])

    def _hopeful(self) -> tuple[Mask, Array]:
        """Which trials have rounds left and may become better than all that have ended."""
        forecasts = grown(self._forecasts(), len(self._known))[: len(self._known)]
        ended = self._last[self._known & self._ended]
        best = float(ended.min()) if len(ended) else math.inf
        return self._known & ~self._ended & (forecasts < best), forecasts

    def leaders(self, places: int) -> list[int]:
        """The trials with the best forecasts that have rounds left, the best first.

        None is a leader that is not expected to become better than one that has ended.
        """
        hopeful, forecasts = self._hopeful()
        return lowest(np.flatnonzero(hopeful), forecasts, places)

    def is_leader(self, number: int, places: int) -> bool:
        """Whether a trial is one of so many leaders."""
        hopeful, forecasts = self._hopeful()
        if not hopeful[number]:
            return False
        own = forecasts[number]
        before = np.count_nonzero(hopeful & (forecasts < own))
        before += np.count_nonzero(hopeful[:number] & (forecasts[:number] == own))
        return bool(before < places)

    def best(self) -> int | None:
        """The trial with the best forecast, be it over or not; None if there is none."""
        return self._expected_best(self._known)

    def best_paused(self, among: Collection[int] | None = None) -> int | None:
        """The paused trial with the best forecast, if `among` is given of these."""
        paused = self._known & self._paused
        if among is not None:
            chosen = np.zeros(len(paused), bool)
            chosen[list(among)] = True
            paused &= chosen
        return self._expected_best(paused)

    def _expected_best(self, which: Mask) -> int | None:
        return next(iter(lowest(np.flatnonzero(which), self._forecasts(), 1)), None)

    def rung_of(self, number: int) -> int | None:
        """The last rung that a trial has reached; None before the first."""
        reached = int(self._rung[number])
        return None if reached < 0 else self._rungs[reached]

    def rank(self, number: int) -> tuple[int, int]:
        """Place of a trial among all that have come to its last rung, and how many these are."""
        reached = int(self._rung[number])
        if reached < 0:
            return 1, 1
        there = self._losses[reached]
        return 1 + bisect_left(there, float(self._at_rung[number])), len(there)

    def is_promoted(self, number: int) -> bool:
        """Whether a trial is among the best at its rung, so that it goes on to the next one.

        One that `is_behind` is not.
        """
        place, reached = self.rank(number)
        return place <= reached // FACTOR and not self.is_behind(number)

    def is_behind(self, number: int) -> bool:
        """Whether a trial was worse at its last rung than another one at an earlier rung."""
        return bool(self._at_rung[number] > self._lowest_before(int(self._rung[number])))

    def to_promote(self, leaders: Collection[int] = ()) -> int | None:
        """The paused trial at the highest rung from which it is promoted; None if none is.

        Leaders are not asked: they have slots of their own.
        """
        asked = self._known & self._paused
        asked[list(leaders)] = False
        for rung in reversed(range(len(self._rungs))):
            there = self._losses[rung]
            if places := len(there) // FACTOR:
                most = min(there[places - 1], self._lowest_before(rung))
                promoted = asked & (self._rung == rung) & (self._at_rung <= most)
                if found := lowest(np.flatnonzero(promoted), self._at_rung, 1):
                    return found[0]
        return None

    def _lowest_before(self, rung: int) -> float:
        """The lowest loss that a trial had at an earlier rung than this one."""
        before = self._losses[: max(rung, 0)]
        return min((losses[0] for losses in before if losses), default=math.inf)


#: a new trial is begun if so much of the time that the best was trained for is left, at least
CATCHING_UP = 0.5


class Pausing:
    """Decides after each round whether a trial goes on; `trials` are all of a sweep, by number."""

    def __init__(
        self,
        problem: SearchProblem,
        trials: Trials,
        slots: Slots,
        ends: Callable[[], Array],
    ) -> None:
        """`ends` gives the loss that each trial would end with, by its number."""
        self._problem, self._trials, self._slots = problem, trials, slots
        #: whether no new trial is begun any more, since the time is short or the space is tried
        self.ending = False
        #: round before which each trial is not judged, and which one is later than usual
        self._least: dict[int, int] = {}
        self._late: int | None = None
        judged_after = rungs(problem.rounds, problem.first_rung)
        self._standings = Standings(judged_after, ends)

    def judge_from(self, number: int, rounds: int) -> None:
        """Do not compare a trial with others before it has so many rounds."""
        self._least[number], self._late = rounds, number

    def may_judge(self, one: TrialProgress) -> bool:
        """Whether enough of a trial is trained to compare it with others."""
        return len(one.rounds) >= self._judged_from(one)

    def _judged_from(self, one: TrialProgress) -> int:
        """The round from which on a trial is compared with others."""
        number = one.trial.number
        if (least := self._least.get(number)) is None:
            self._least[number] = least = self._problem.first_judged(one.trial.config)
        return least

    def put(self, one: TrialProgress) -> None:
        """Compare a trial of the search with the others, once it can be judged."""
        failed = one.ended and not one.ended.outcome.ranks
        if failed or not self.may_judge(one) or one.best_round is None:
            self._standings.drop(one.trial.number)
            return
        ended, paused = one.ended is not None, bool(one.paused)
        since = self._judged_from(one)
        self._standings.put(Contender(one.trial.number, one.best_so_far, ended, paused, since))

    def judge(self, one: TrialProgress) -> Paused | None:
        """Why a trial is paused after a round; None if it goes on."""
        number, standings = one.trial.number, self._standings
        if number not in standings:  # it has too few rounds, or none has a loss
            return None
        if self._goes_on(one) or (self.ending and not self._gives_way(one)):
            return None
        place, reached = standings.rank(number)
        epoch, loss = one.trial.epoch_text(len(one.rounds)), one.best_so_far[-1]
        why = f"loss {loss:.4f}, number {place} of {reached} there"
        if place <= reached // FACTOR and standings.is_behind(number):
            why += ", but another one was lower before"
        return Paused(f"at epoch {epoch}: {why}")

    def _goes_on(self, one: TrialProgress) -> bool:
        """Whether a trial leads, or is promoted."""
        number, standings = one.trial.number, self._standings
        promoted = standings.is_promoted(number)
        if promoted and self._slots.count > 1:
            return True
        if not standings.is_leader(number, self._most_leaders):
            return promoted
        return bool(self._lead_places()) or standings.rung_of(number) != len(one.rounds)

    def _gives_way(self, one: TrialProgress) -> bool:
        """Whether a paused trial makes more of a slot, once no new trial is begun."""
        number, standings = one.trial.number, self._standings
        other = standings.best_paused()
        if other is None or standings.rung_of(number) != len(one.rounds):
            return False
        return standings.forecast(other) < standings.forecast(number)

    def running_leader(self) -> TrialProgress | None:
        """The best of the leaders that is trained now; None if all of them wait.

        If all do, it is a trial that is not compared yet, since it may lead later.
        """
        leaders = self._standings.leaders(self._most_leaders)
        running = (one for n in leaders if not (one := self._trials[n]).paused)
        return next(running, None) or self._not_compared_yet()

    def _not_compared_yet(self) -> TrialProgress | None:
        """The trial that is compared later than usual, while it runs and is not."""
        one = None if self._late is None else self._trials.get(self._late)
        if one is None or one.ended or one.paused or one.trial.number in self._standings:
            return None
        return one

    def next(self) -> TrialProgress | None:
        """The paused trial that is worth a slot more than a new one; None if none is."""
        if not self._trials.any_paused:
            return None
        standings = self._standings
        places = self._lead_places()
        leaders = standings.leaders(self._most_leaders)
        chosen = next((n for n in leaders[:places] if self._trials[n].paused), None)
        if chosen is None:
            chosen = standings.to_promote(leaders)
        return None if chosen is None else self._trials[chosen]

    def last(self) -> TrialProgress | None:
        """The paused trial that goes on once no new one is begun; None if all are done.

        If the search is `ending`, each may go on, as long as the time lasts; else the leaders, and
        the best of all.
        """
        standings = self._standings
        best = standings.best()
        kept = {*standings.leaders(self._most_leaders), *([] if best is None else [best])}
        chosen = standings.best_paused(None if self.ending else kept)
        return None if chosen is None else self._trials[chosen]

    def is_late(self, left: float | None) -> bool:
        """Whether paused trials make more of the search's seconds that are left than a new one.

        A new one would hardly catch up with the best trial then.
        """
        if left is None or not self._trials.any_paused:
            return False
        best = self._standings.best()
        return best is not None and left < CATCHING_UP * sum(self._trials[best].round_seconds)

    @property
    def _most_leaders(self) -> int:
        return max(1, self._slots.count // 2)

    def _lead_places(self) -> int:
        """How many slots are for leaders now: half of them.

        A single slot is for the leader until it had it for as long as all others.
        """
        if self._slots.count > 1:
            return self._slots.count // 2
        leaders = self._standings.leaders(1)
        own = sum(sum(self._trials[number].round_seconds) for number in leaders)
        return int(2 * own <= sum(sum(one.round_seconds) for one in self._own()))

    def _own(self) -> list[TrialProgress]:
        return [one for one in self._trials.values() if one.trial.phase is Phase.SEARCH]


def pruned(paused: str) -> Ended:
    """How a trial ends that was paused and will not go on; `paused` says where, and how it was."""
    return Ended(Outcome.PRUNED, f"it waited {paused}")
