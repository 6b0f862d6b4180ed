"""Which trials of a search wait with a checkpoint, and which of them go on."""

from __future__ import annotations

from collections.abc import Callable

from lstm_sweep.search.policy import halving
from lstm_sweep.search.policy.allocation import Contender, Standings
from lstm_sweep.search.policy.arrays import Array
from lstm_sweep.search.policy.problem import SearchProblem
from lstm_sweep.search.policy.slots import Slots
from lstm_sweep.search.policy.trials import Trials
from lstm_sweep.search.progress import TrialSnapshot
from lstm_sweep.search.trial import Ended, Outcome, Paused, Phase

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
        rungs = halving.rungs(problem.rounds, problem.first_rung)
        self._standings = Standings(rungs, ends)

    def judge_from(self, number: int, rounds: int) -> None:
        """Do not compare a trial with others before it has so many rounds."""
        self._least[number], self._late = rounds, number

    def may_judge(self, one: TrialSnapshot) -> bool:
        """Whether enough of a trial is trained to compare it with others."""
        return len(one.rounds) >= self._judged_from(one)

    def _judged_from(self, one: TrialSnapshot) -> int:
        """The round from which on a trial is compared with others."""
        number = one.trial.number
        if (least := self._least.get(number)) is None:
            self._least[number] = least = self._problem.first_judged(one.trial.config)
        return least

    def put(self, one: TrialSnapshot) -> None:
        """Compare a trial of the search with the others, once it can be judged."""
        failed = one.ended and not one.ended.outcome.ranks
        if failed or not self.may_judge(one) or one.best_round is None:
            self._standings.drop(one.trial.number)
            return
        ended, paused = one.ended is not None, bool(one.paused)
        since = self._judged_from(one)
        self._standings.put(Contender(one.trial.number, one.best_so_far, ended, paused, since))

    def judge(self, one: TrialSnapshot) -> Paused | None:
        """Why a trial is paused after a round; None if it goes on."""
        number, standings = one.trial.number, self._standings
        if number not in standings:  # it has too few rounds, or none has a loss
            return None
        if self._goes_on(one) or (self.ending and not self._gives_way(one)):
            return None
        place, reached = standings.rank(number)
        epoch, loss = one.trial.epoch_text(len(one.rounds)), one.best_so_far[-1]
        why = f"loss {loss:.4f}, number {place} of {reached} there"
        if place <= reached // halving.FACTOR and standings.is_behind(number):
            why += ", but another one was lower before"
        return Paused(f"at epoch {epoch}: {why}")

    def _goes_on(self, one: TrialSnapshot) -> bool:
        """Whether a trial leads, or is promoted."""
        number, standings = one.trial.number, self._standings
        promoted = standings.is_promoted(number)
        if promoted and self._slots.count > 1:
            return True
        if not standings.is_leader(number, self._most_leaders):
            return promoted
        return bool(self._lead_places()) or standings.rung_of(number) != len(one.rounds)

    def _gives_way(self, one: TrialSnapshot) -> bool:
        """Whether a paused trial makes more of a slot, once no new trial is begun."""
        number, standings = one.trial.number, self._standings
        other = standings.best_paused()
        if other is None or standings.rung_of(number) != len(one.rounds):
            return False
        return standings.forecast(other) < standings.forecast(number)

    def running_leader(self) -> TrialSnapshot | None:
        """The best of the leaders that is trained now; None if all of them wait.

        If all do, it is a trial that is not compared yet, since it may lead later.
        """
        leaders = self._standings.leaders(self._most_leaders)
        running = (one for n in leaders if not (one := self._trials[n]).paused)
        return next(running, None) or self._not_compared_yet()

    def _not_compared_yet(self) -> TrialSnapshot | None:
        """The trial that is compared later than usual, while it runs and is not."""
        one = None if self._late is None else self._trials.get(self._late)
        if one is None or one.ended or one.paused or one.trial.number in self._standings:
            return None
        return one

    def next(self) -> TrialSnapshot | None:
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

    def last(self) -> TrialSnapshot | None:
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

    def _own(self) -> list[TrialSnapshot]:
        return [one for one in self._trials.values() if one.trial.phase is Phase.SEARCH]


def pruned(paused: str) -> Ended:
    """How a trial ends that was paused and will not go on; `paused` says where, and how it was."""
    return Ended(Outcome.PRUNED, f"it waited {paused}")
