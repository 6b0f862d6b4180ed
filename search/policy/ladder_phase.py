"""The first phase of a sweep: its trials find the learning rate with which the search goes on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lstm_sweep.models.config import Config
from lstm_sweep.search.policy import found_rate, ladder
from lstm_sweep.search.policy.found_rate import FoundRate
from lstm_sweep.search.policy.ladder import LadderDecision, Step
from lstm_sweep.search.policy.problem import LadderLength, SearchProblem
from lstm_sweep.search.policy.report import LadderReport
from lstm_sweep.search.values.plan import Plan
from lstm_sweep.search.values.progress import TrialProgress
from lstm_sweep.search.values.stop_reason import stopped_early
from lstm_sweep.search.values.trial import Ended, Outcome, Phase, Trial
from lstm_sweep.spaces.space import Space


class LadderPhase:
    """Which rates are tried, and how their trials end; `trials` are all of the sweep."""

    def __init__(
        self, plan: Plan, problem: SearchProblem, trials: Mapping[int, TrialProgress], slots: int
    ) -> None:
        self._trials, self._problem = trials, problem
        self._early_stopping = plan.early_stopping
        self._rate_field = problem.space.rate or ""
        self._small = problem.smallest or problem.space.middle()
        self._length = problem.ladder_length(plan.seconds, slots)
        self.rates = ladder.of(problem.space) if plan.ladder else ()
        #: which attempt is the next of trials that are tried again, by their number
        self._to_come: dict[int, int] = {}
        #: None while rates are tried
        self.decision: LadderDecision | None = None
        #: whether it is left out, since it might take all trials
        self.is_left_out = ladder.is_left_out(self.rates, plan.trials) and bool(self.rates)
        if self.is_left_out:
            self.decision = LadderDecision((), ladder.usual(self.rates), "left out")
        elif not self.rates:
            reason = "no rates to climb" if plan.ladder else "switched off"
            self.decision = LadderDecision((), None, reason)

    @property
    def steps(self) -> int | None:
        """Steps of the optimizer that a trial takes; None if it is trained for whole rounds."""
        return self._length.steps

    def take_up(self, waiting: Sequence[Trial]) -> None:
        """Train the next trials as those before the sweep was broken off: as long, and as large.

        `waiting` are those that were under way then.
        """
        self._to_come = {trial.number: trial.attempt for trial in waiting}
        own = self._own()
        begun = [*(one.trial for one in own), *(t for t in waiting if t.phase is Phase.LADDER)]
        if not begun:
            return
        steps, self._small = begun[0].steps, begun[0].config
        rounds = self._length.rounds
        if steps is not None:
            self._length = LadderLength(1, steps)
        elif rounds is not None:
            self._length = LadderLength(self._rounds_before(own) or rounds)

    def _rounds_before(self, own: Sequence[TrialProgress]) -> int:
        """Rounds after which the ladder has ended its trials; 0 if it has ended none so far."""
        complete = (o for o in own if o.ended and o.ended.outcome is Outcome.COMPLETE)
        whole = (o for o in complete if not stopped_early(o, self._early_stopping))
        return max((len(one.rounds) for one in whole), default=0)

    def found(self) -> FoundRate | None:
        """What the search goes on with; None if there is nothing, or nothing yet."""
        best, problem = self.decision.best if self.decision else None, self._problem
        if best is None:
            return None
        return found_rate.found(
            problem.space,
            self.tried(),
            best,
            problem.untrained_loss,
            problem.rate_share,
            problem.lowest_rate_share,
        )

    def next_config(self) -> Config | None:
        """The config with the next rate; None if all are begun."""
        begun = {self._rate(trial) for trial in self._own()}
        rate = next((rate for rate in self.rates if rate not in begun), None)
        return None if rate is None else self._small.evolve(**{self._rate_field: rate})

    def judge(self, one: TrialProgress) -> Ended | None:
        """How a trial ends after a round; None if it goes on."""
        if self.decision is not None:  # it was under way when the sweep was broken off
            return self._not_needed(self.decision)
        if len(one.rounds) >= (self._length.rounds or self._problem.rounds):
            epochs = one.trial.epoch_text(len(one.rounds))
            return Ended(Outcome.COMPLETE, f"{epochs} epochs, as all trials of the ladder")
        return None

    def lose(self, one: TrialProgress) -> None:
        """An attempt has ended that says nothing of its rate, since the trial is tried again."""
        self._to_come[one.trial.number] = one.trial.attempt + 1

    def end(self) -> list[tuple[TrialProgress, Ended]]:
        """Decide after a trial has ended; return those not needed any more, and how they end."""
        untrained = self._problem.untrained_loss
        decision = ladder.decide(self.tried(), math.inf if untrained is None else untrained)
        if not decision.done:
            return []
        self.decision = decision
        ended = self._not_needed(decision)
        return [(trial, ended) for trial in self._own() if trial.ended is None]

    def tried(self) -> list[Step]:
        """The rates and their losses so far."""
        found = {self._rate(trial): trial for trial in self._own()}
        return [self._step(rate, found.get(rate)) for rate in self.rates]

    def report(self, space: Space) -> LadderReport | None:
        """What came of it; None if there was none. `space` is what is searched by now."""
        if not self.rates or self.is_left_out:
            return None
        return LadderReport(tuple(self.tried()), self.decision, space[self._rate_field].describe())

    def _own(self) -> list[TrialProgress]:
        return [one for one in self._trials.values() if one.trial.phase is Phase.LADDER]

    def _rate(self, trial: TrialProgress) -> int | float | str:
        return trial.trial.config.to_dict()[self._rate_field]

    def _step(self, rate: float, one: TrialProgress | None) -> Step:
        if one is None or one.ended is None:
            return Step(rate)
        if one.trial.attempt < self._to_come.get(one.trial.number, 0):
            return Step(rate)
        outcome = one.ended.outcome
        if one.ranked_loss is not None:
            return Step(rate, one.ranked_loss)
        if outcome in (Outcome.DIVERGED, Outcome.COMPLETE):  # it has no finite loss
            return Step(rate, math.inf)
        return Step(rate, accident=outcome)

    def _not_needed(self, decision: LadderDecision) -> Ended:
        return Ended(Outcome.PRUNED, f"its learning rate is not needed: {decision.reason}")
