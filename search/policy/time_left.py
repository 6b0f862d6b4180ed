"""How long a sweep still takes, by what its policy knows of its trials."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lstm_sweep.search.policy.confirmation import Reserve, makespan
from lstm_sweep.search.progress import TrialSnapshot
from lstm_sweep.search.trial import Phase

if TYPE_CHECKING:
    from lstm_sweep.search.policy.policy import Policy

#: by how much a trial that is better than the best so far costs more, at most
MOST_GROWTH = 2.0


class TimeLeft:
    """The time that one sweep still takes at one moment."""

    def __init__(
        self, policy: Policy, gone: float, slots: int, shares: Mapping[int, float]
    ) -> None:
        """It is `gone` seconds since the sweep began.

        `shares` says how much of the round that it is in each running trial has done, by its
        number.
        """
        self._policy, self._plan, self._costs = policy, policy.plan, policy.costs
        self._slots, self._shares = max(1, slots), shares
        self._left = None if self._plan.seconds is None else max(0.0, self._plan.seconds - gone)
        self._trials = policy.trials
        self._searched = [one for one in self._trials if one.trial.phase is Phase.SEARCH]
        self._rounds = policy.problem.rounds

    def seconds(self) -> float | None:
        """Seconds to the end of the sweep; None if too little is known."""
        left, policy = self._left, self._policy
        kept = policy.confirmation.reserve(left) if not policy.stop else Reserve(0)
        if policy.confirms or policy.stop:
            confirms = self._confirming(kept)
            running = [self._rest(one) for one in self._open(Phase.SEARCH)]
            found = makespan([*running, *confirms], self._slots)
            return found if left is None else min(left, found)
        new = max(0, self._plan.trials - kept.trials - len(self._trials))
        search = self._search_seconds(new)
        if search is None:
            return left
        if left is not None:
            search = min(search, left - kept.seconds)
        found = max(0.0, search) + makespan(self._confirming(kept, new), self._slots)
        return found if left is None else min(left, found)

    def _open(self, phase: Phase) -> list[TrialSnapshot]:
        """Trials of a phase that run."""
        own = (one for one in self._trials if one.trial.phase is phase)
        return [one for one in own if not one.ended and not one.paused]

    def _best(self, count: int) -> list[TrialSnapshot]:
        """The best first runs so far that a sweep may train again, those under way too."""
        first = (one for one in self._trials if one.trial.phase is not Phase.CONFIRM)
        ranked = (
            (loss, one.trial.number, one)
            for one in first
            if one.trial.steps is None
            and (loss := one.ranked_loss if one.ended else one.best_loss) is not None
        )
        return [one for _, _, one in sorted(ranked)[:count]]

    def _each(self, one: TrialSnapshot) -> float:
        """Seconds of a round of a trial; the first, which includes tracing, is left out."""
        own = one.round_seconds[1:]
        return statistics.median(own) if own else self._costs.round_seconds(one.trial.config)

    def _rest(self, one: TrialSnapshot, rounds: int | None = None) -> float:
        """Seconds until a trial has done a number of rounds, or all of them."""
        rounds = one.trial.rounds if rounds is None else rounds
        done = len(one.rounds) + self._shares.get(one.trial.number, 0.0)
        return max(0.0, rounds - done) * self._each(one)

    def _confirming(self, kept: Reserve, new: int = 0) -> list[float]:
        """Seconds of the further runs that are under way, and of those to come, in order.

        As long as `new` trials are still to be begun, another config may be the best in the end.
        It is among the costlier ones as a rule, so the upper quartile counts for it.
        """
        running = [self._rest(one) for one in self._open(Phase.CONFIRM)]
        confirmation, plan = self._policy.confirmation, self._plan
        if kept.shortened:
            return [*running, *[kept.shortened.seconds / kept.trials] * kept.trials]
        best = self._best(plan.confirm_configs)
        needs = {one.trial.config: confirmation.seconds_of(one) for one in best}
        begun = sum(one.trial.phase is Phase.CONFIRM for one in self._trials)
        order = confirmation.order(list(needs), kept.trials, begun) if needs else []
        change = self._chance_of_better(new)
        return [
            *running,
            *((1 - change) * needs[c] + change * self._better_seconds(needs[c]) for c in order),
        ]

    def _chance_of_better(self, new: int) -> float:
        """Chance that one of `new` trials becomes better than all that there are."""
        return new / max(1, new + len(self._searched))

    def _better_seconds(self, seconds: float) -> float:
        """Seconds of all rounds of a trial that is better than one that takes `seconds`.

        It is the upper quartile of all, but at most `MOST_GROWTH` times as much.
        """
        each = sorted(self._each(one) for one in self._searched)
        quartile = each[3 * len(each) // 4] if each else 0.0
        usual = self._costs.fixed_seconds + self._rounds * quartile
        return max(seconds, min(usual, MOST_GROWTH * seconds))

    def _search_seconds(self, new: int) -> float | None:
        """Seconds to the end of the search if the time is not limited; None if nobody knows."""
        known = [one for one in self._searched if one.round_seconds or one.ended]
        if not known:
            return None
        if self._policy.problem.pausable and self._plan.halving:
            return self._halving_seconds(new, known)
        return self._whole_seconds(new, known)

    def _whole_seconds(self, new: int, known: Sequence[TrialSnapshot]) -> float:
        """The same if trials are not paused: what one takes on average counts for those to come."""
        ended = [one.seconds for one in known if one.ended]
        whole = [self._costs.trial_seconds(one.trial.config, one.trial.rounds) for one in known]
        typical = statistics.mean(ended or whole)
        running = (self._rest(one) for one in self._open(Phase.SEARCH))
        return makespan([*running, *[typical] * new], self._slots)

    def _halving_seconds(self, new: int, known: Sequence[TrialSnapshot]) -> float:
        """The same with halving.

        Half of the slots are for leaders. On the others each new trial comes to its first rung, and
        of those at a rung one of `halving.FACTOR` goes on. In the end the leader comes to its own.
        """
        first = {one.trial.number: self._first_rung(one) for one in self._searched}
        fixed = self._costs.fixed_seconds
        each_new = statistics.mean(first[o.trial.number] * self._each(o) for o in known) + fixed
        begun = sum(
            self._rest(one, first[one.trial.number])
            for one in self._open(Phase.SEARCH)
            if len(one.rounds) < first[one.trial.number]
        )
        others = self._slots - self._slots // 2 if self._slots > 1 else 0.5
        until = (new * each_new + begun) / others
        change = self._chance_of_better(new)
        best = self._best(1)
        if not best:
            return until
        rest = 0.0 if best[0].ended else self._rest(best[0])
        whole = self._better_seconds(self._rounds * self._each(best[0]))
        same_leader, new_leader = max(until, rest), max(until, until / 2 + whole)
        return (1 - change) * same_leader + change * new_leader

    def _first_rung(self, one: TrialSnapshot) -> int:
        problem = self._policy.problem
        return max(problem.first_rung, problem.judged_from(one.trial.config))
