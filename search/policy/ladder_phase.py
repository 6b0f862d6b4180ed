"""The first phase of a sweep: its trials find the learning rate with which the search goes on."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lstm_sweep.models.config import Config
from lstm_sweep.search.policy import ladder
from lstm_sweep.search.policy.ladder import LadderDecision, Step
from lstm_sweep.search.policy.problem import SearchProblem
from lstm_sweep.search.trial import Ended, Outcome, Phase, TrialSnapshot


class LadderPhase:
    """Which rates are tried, and how their trials end; `trials` are all of the sweep."""

    def __init__(
        self, problem: SearchProblem, trials: Mapping[int, TrialSnapshot], *, climbs: bool
    ) -> None:
        self._trials, self._untrained_loss = trials, problem.untrained_loss
        self._rate_field = problem.space.rate or ""
        self._small = problem.smallest or problem.space.middle()
        self._rounds = problem.ladder_rounds or problem.rounds
        self.rates = ladder.of(problem.space) if climbs else ()
        #: None while rates are tried
        self.decision: LadderDecision | None = None
        if not self.rates:
            reason = "no rates to climb" if climbs else "switched off"
            self.decision = LadderDecision((), None, reason)

    @property
    def best_rate(self) -> float | None:
        """The rate that the search goes on with; None if there is none, or none yet."""
        return self.decision.best if self.decision else None

    def next_config(self) -> Config | None:
        """The config with the next rate; None if all are begun."""
        begun = {self._rate(trial) for trial in self._own()}
        rate = next((rate for rate in self.rates if rate not in begun), None)
        return None if rate is None else self._small.evolve(**{self._rate_field: rate})

    def judge(self, one: TrialSnapshot) -> Ended | None:
        """How a trial ends after a round; None if it goes on."""
        if self.decision is not None:  # it was under way when the sweep was broken off
            return self._not_needed(self.decision)
        if len(one.rounds) >= self._rounds:
            epochs = one.trial.epoch_text(len(one.rounds))
            return Ended(Outcome.COMPLETE, f"a trial of the ladder takes {epochs} epochs")
        return None

    def end(self) -> list[tuple[TrialSnapshot, Ended]]:
        """Decide after a trial has ended; return those not needed any more, and how they end."""
        limit = math.inf if self._untrained_loss is None else self._untrained_loss
        decision = ladder.decide(self.steps(), limit)
        if not decision.done:
            return []
        self.decision = decision
        ended = self._not_needed(decision)
        return [(trial, ended) for trial in self._own() if trial.ended is None]

    def steps(self) -> list[Step]:
        """The rates and their losses so far."""
        found = {self._rate(trial): trial for trial in self._own()}
        return [Step(rate, _loss(found.get(rate))) for rate in self.rates]

    def _own(self) -> list[TrialSnapshot]:
        return [one for one in self._trials.values() if one.trial.phase is Phase.LADDER]

    def _rate(self, trial: TrialSnapshot) -> int | float | str:
        return trial.trial.config.to_dict()[self._rate_field]

    def _not_needed(self, decision: LadderDecision) -> Ended:
        return Ended(Outcome.STOPPED, f"the ladder has ended: {decision.reason}")


def _loss(trial: TrialSnapshot | None) -> float | None:
    if trial is None or trial.ended is None:
        return None
    return math.inf if trial.ranked_loss is None else trial.ranked_loss
