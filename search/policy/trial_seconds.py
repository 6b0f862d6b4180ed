"""What the trials of a sweep still cost, and what others like them would."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from lstm_sweep.search.policy import halving
from lstm_sweep.search.policy.arrays import some_of
from lstm_sweep.search.policy.confirmed import is_complete
from lstm_sweep.search.progress import TrialSnapshot
from lstm_sweep.search.trial import Outcome

if TYPE_CHECKING:
    from lstm_sweep.search.policy.policy import Policy


class TrialSeconds:
    """Seconds of trials at one moment, by their own rounds or by what is known of others."""

    def __init__(self, policy: Policy, shares: Mapping[int, float]) -> None:
        """`shares` says how much of the round that it is in each running trial has done."""
        self._problem, self._costs, self._trials = policy.problem, policy.costs, policy.trials
        self._confirmation, self._shares = policy.confirmation, shares

    def each(self, one: TrialSnapshot) -> float:
        """Seconds of a round."""
        own = one.usual_round_seconds
        return self._costs.round_seconds(one.trial.config) if own is None else own

    @cached_property
    def start(self) -> float:
        """Seconds of a trial beyond its rounds.

        By all trials that had one stretch on a slot up to the end of a round, whole ones or not, so
        that this is known early.
        """
        found = [
            max(0.0, one.seconds - sum(one.round_seconds[1:]) - self.each(one))
            for one in some_of(self._trials)
            if one.round_seconds and self._had_one_stretch(one)
        ]
        return statistics.median(found) if found else self._costs.fixed_seconds

    def _had_one_stretch(self, one: TrialSnapshot) -> bool:
        if one.paused:
            return len(one.rounds) <= self.first_rung(one)
        return not one.waited and one.ended is not None and one.ended.outcome is Outcome.COMPLETE

    def first_rung(self, one: TrialSnapshot) -> int:
        """Rounds after which a trial is compared with others for the first time."""
        return self._problem.first_judged(one.trial.config)

    def rest(self, one: TrialSnapshot, rounds: int | None = None) -> float:
        """Seconds until a trial has done a number of rounds, or all of them."""
        if one.ended:
            return 0.0
        rounds = one.trial.rounds if rounds is None else rounds
        done = len(one.rounds) + self._shares.get(one.trial.number, 0.0)
        return max(0.0, rounds - done) * self.each(one)

    def rest_again(self, again: TrialSnapshot, first: TrialSnapshot) -> float:
        """Seconds to the end of a further run, by the rounds of the first run of its config."""
        done, share = len(again.rounds), self._shares.get(again.trial.number, 0.0)
        rest = list(first.round_seconds[done : again.trial.rounds])
        rest += [self.each(first)] * (again.trial.rounds - done - len(rest))
        return sum(rest) - share * rest[0] if rest else 0.0

    def again(self, first: TrialSnapshot) -> float:
        """Seconds of a further run of the config of a trial.

        As is kept for it, but for its start, which is known better here.
        """
        kept = self._confirmation.seconds_of(first)
        least = sum(first.round_seconds) if is_complete(first) else 0.0
        return max(kept - self._costs.fixed_seconds + self.start, least)

    def to_first_rung(self, one: TrialSnapshot) -> float:
        """Seconds that a new trial like this one takes until it is compared with others."""
        rung = self.first_rung(one)
        if one.ended and len(one.rounds) < rung:
            return one.seconds
        return self.start + rung * self.each(one)

    @property
    def _rungs(self) -> tuple[int, ...]:
        return halving.rungs(self._problem.rounds, self._problem.first_rung)

    def to_next_rung(self, one: TrialSnapshot) -> float:
        """Seconds until a trial that runs is compared with others, or to its end."""
        least = max(self.first_rung(one), len(one.rounds) + 1)
        return self.rest(one, next((rung for rung in self._rungs if rung >= least), None))

    def promoted(
        self, searched: Sequence[TrialSnapshot], new: int, leader: TrialSnapshot | None = None
    ) -> float:
        """Seconds of the trials that are still to be promoted, from rung to rung.

        `searched` are those of the search, and `new` ones will come to the first rung beside those
        that are on their way. The `leader` comes to its end by itself, and is one of the best.
        """
        problem, each = self._problem, statistics.fmean(map(self.each, some_of(searched)))
        running = [one for one in searched if one is not leader and not one.ended]
        rounds = [problem.rounds if one is leader else len(one.rounds) for one in searched]
        coming = new + sum(len(one.rounds) < problem.first_rung for one in running)
        found = 0.0
        for rung, upper in itertools.pairwise((*self._rungs, problem.rounds)):
            there, beyond = (sum(map(passed, rounds)) for passed in (rung.__le__, rung.__lt__))
            coming = max(0, (there + coming) // halving.FACTOR - beyond)
            found += coming * (upper - rung) * each
        return found
