"""Successive halving: which trials of a search wait with a checkpoint, go on, or are cut short.

Trials wait at rungs with a checkpoint, as in asynchronous successive halving with promotions (Li et
al., A System for Massively Parallel Hyperparameter Tuning, arXiv 1810.05934): a trial is promoted
from a rung once it is among the best 1/factor of all that have come there. Half of the slots are
for the leaders all the time, the best trials so far; they are not asked at rungs. The other
half are for promotions and for new trials.

Trials that cannot be paused, as those of templates, are stopped instead: at each rung a trial goes
on if its loss is among the best 1/factor of all that have reached this rung so far.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.search.policy.problem import SearchProblem, Trials, grown, lowest
from lstm_sweep.search.values.trial import Ended, Outcome, Paused, Phase, Trial

#: of this many trials at a rung one goes on
FACTOR = 3
#: of the trials at the first rung, where losses say least, so many go on at the least
FIRST_PLACES = 2


def rungs(rounds: int, first: int = 1) -> tuple[int, ...]:
    """Rounds after which trials of `rounds` are judged: first, first * `FACTOR` ... below it."""
    found = []
    while first < rounds:
        found.append(first)
        first *= FACTOR
    return tuple(found)


#: what a trial that is compared with others does
_RUNS, _WAITS, _OVER = 0.0, 1.0, 2.0


class Halving:
    """Decides after each round whether a trial goes on; `trials` are all of a sweep, by number."""

    def __init__(self, problem: SearchProblem, trials: Trials) -> None:
        self._problem, self._trials = problem, trials
        #: whether no new trial is begun any more, since the time is short or the space is tried
        self.ending = False
        #: the trial that is compared later than usual, and after how many rounds
        self._late: tuple[int, int] | None = None
        self._rungs = rungs(problem.rounds, problem.first_rung)
        #: `<float64>[3 + rungs, trials]`, NaN of those that are not compared: the last loss of
        #: each, the place of its last rung (-1 before the first), what it does; its loss at each
        self._compared = np.full((3 + len(self._rungs), 64), np.nan)

    # who is compared with whom

    def judge_from(self, number: int, rounds: int) -> None:
        self._late = number, rounds

    def may_judge(self, one: Trial) -> bool:
        return len(one.rounds) >= self._judged_from(one)

    def _judged_from(self, one: Trial) -> int:
        if self._late and self._late[0] == one.number:
            return self._late[1]
        return self._problem.first_rung

    def put(self, one: Trial) -> None:
        self._compared = grown(self._compared, one.number + 1)
        column = self._compared[:, one.number]
        column[:] = np.nan
        failed = one.ended and not one.ended.outcome.ranks
        if not failed and one.best_round is not None and self.may_judge(one):
            at = self._at_rungs(one)
            does = _OVER if one.ended else _WAITS if one.paused else _RUNS
            column[: 3 + len(at)] = one.best_so_far[-1], len(at) - 1, does, *at

    def _at_rungs(self, one: Trial) -> list[float]:
        """The loss of a trial at each of the rungs that it has come to.

        At the last one before the round from which on it is compared, that is the loss after that
        round. At those before it the others are compared with what it had there.
        """
        reached = self._rungs[: bisect_right(self._rungs, len(one.rounds))]
        found = [one.best_so_far[rung - 1] for rung in reached]
        judged_from = self._judged_from(one)
        if late := bisect_right(self._rungs, judged_from):
            found[late - 1] = one.best_so_far[judged_from - 1]
        return found

    def _is_compared(self, number: int) -> bool:
        return number < self._compared.shape[1] and not np.isnan(self._compared[0, number])

    def _leaders(self, places: int) -> list[int]:
        """The best trials with rounds left, if better than all that have ended."""
        losses, does = self._compared[[0, 2]]
        best = min(losses[does == _OVER], default=math.inf)
        return lowest(np.flatnonzero((does < _OVER) & (losses < best)), losses, places)

    def _best(self, which: NDArray[np.bool_]) -> Trial | None:
        found = lowest(np.flatnonzero(which), self._compared[0], 1)
        return self._trials[found[0]] if found else None

    def _best_paused(self, among: Collection[int] | None = None) -> Trial | None:
        paused = self._compared[2] == _WAITS
        if among is not None:
            paused &= np.isin(np.arange(len(paused)), list(among))
        return self._best(paused)

    def _is_at_rung(self, one: Trial) -> bool:
        rung = int(self._compared[1, one.number])
        return rung >= 0 and self._rungs[rung] == len(one.rounds)

    def _rank(self, number: int) -> tuple[int, int]:
        """Place of a trial among all that have come to its last rung, and how many these are."""
        rung = int(self._compared[1, number])
        if rung < 0:
            return 1, 1
        there = self._compared[3 + rung]
        places = np.count_nonzero(there < there[number]), np.count_nonzero(~np.isnan(there))
        return 1 + int(places[0]), int(places[1])

    def _to_promote(self, leaders: Collection[int]) -> Trial | None:
        """The paused trial promoted from the highest rung; leaders have slots of their own."""
        _, rung, does, *at_rungs = self._compared
        asked = does == _WAITS
        asked[list(leaders)] = False
        for place, losses in reversed(list(enumerate(at_rungs))):
            there = losses[~np.isnan(losses)]
            if places := len(there) // FACTOR:
                good = losses <= np.partition(there, places - 1)[places - 1]
                if found := lowest(np.flatnonzero(asked & (rung == place) & good), losses, 1):
                    return self._trials[found[0]]
        return None

    # what is decided

    def judge(self, one: Trial) -> Ended | Paused | None:
        """Why a trial is paused after a round, or ends; None if it goes on."""
        number = one.number
        if not self._is_compared(number):  # it has too few rounds, or none has a loss
            return None
        if not self._problem.pausable:
            return self._pruned(one) if self._is_at_rung(one) else None
        if self.ending or self._goes_on(one):
            return None
        place, reached = self._rank(number)
        epoch, loss = one.epoch_text(len(one.rounds)), one.best_so_far[-1]
        return Paused(f"at epoch {epoch}: loss {loss:.4f}, number {place} of {reached} there")

    def _pruned(self, one: Trial) -> Ended | None:
        """How a trial that cannot be paused ends at a rung: one of `FACTOR` goes on, rounded up."""
        place, reached = self._rank(one.number)
        places = math.ceil(reached / FACTOR)
        if len(one.rounds) == self._rungs[0]:
            places = max(FIRST_PLACES, places)
        if place <= places:
            return None
        best = f"best {places} of" if places > 1 else "best of"
        why = f"{one.best_so_far[-1]:.4g} is not among the {best} {reached} at this rung"
        return Ended(Outcome.PRUNED, f"pruned at epoch {one.epoch_text(len(one.rounds))}: {why}")

    def _goes_on(self, one: Trial) -> bool:
        place, reached = self._rank(one.number)
        promoted = place <= reached // FACTOR
        if promoted and self._trials.slots > 1:
            return True
        if one.number not in self._leaders(self._most_leaders):
            return promoted
        return bool(self._lead_places()) or not self._is_at_rung(one)

    def running_leader(self) -> Trial | None:
        """The best leader that runs, or a trial that is not compared yet, as it may lead later."""
        leaders = self._leaders(self._most_leaders)
        running = (one for n in leaders if not (one := self._trials[n]).paused)
        return next(running, None) or self._not_compared_yet()

    def _not_compared_yet(self) -> Trial | None:
        one = self._trials.get(self._late[0]) if self._late else None
        if one is None or one.ended or one.paused or self._is_compared(one.number):
            return None
        return one

    def next(self) -> Trial | None:
        leaders = self._leaders(self._most_leaders)
        leading = (self._trials[number] for number in leaders[: self._lead_places()])
        return next((one for one in leading if one.paused), None) or self._to_promote(leaders)

    def last(self) -> Trial | None:
        """The paused trial that goes on once no new one is begun; None if all are done.

        If the search is `ending`, each may go on, as long as the time lasts; else the leaders, and
        the best of all.
        """
        if self.ending:
            return self._best_paused()
        best = self._best(~np.isnan(self._compared[0]))
        kept = {*self._leaders(self._most_leaders), *([best.number] if best else [])}
        return self._best_paused(kept)

    @property
    def _most_leaders(self) -> int:
        return max(1, self._trials.slots // 2)

    def _lead_places(self) -> int:
        """Half of the slots; a single one until the leader had it for as long as all others."""
        if self._trials.slots > 1:
            return self._trials.slots // 2
        own = sum(sum(self._trials[number].round_seconds) for number in self._leaders(1))
        return int(2 * own <= sum(sum(one.round_seconds) for one in self._trials.of(Phase.SEARCH)))


def pruned(paused: str) -> Ended:
    """How a trial ends that was paused and will not go on; `paused` says where, and how it was."""
    return Ended(Outcome.PRUNED, f"it waited {paused}")
