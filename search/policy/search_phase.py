"""The search proper: which config is tried next."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

from lstm_sweep.models.config import Config, TrialConfig, as_lstm_config
from lstm_sweep.search.policy.halving import Halving, rungs
from lstm_sweep.search.policy.ladder import BestRate
from lstm_sweep.search.policy.problem import (
    Costs,
    LargeNetwork,
    SearchProblem,
    Trials,
    out_of_patience,
    out_of_time,
    space_is_tried,
    trials_without_gain,
)
from lstm_sweep.search.policy.proposer import Observed, Proposal, Proposer
from lstm_sweep.search.values.spec import Plan
from lstm_sweep.search.values.sweep import Stop, StopReason
from lstm_sweep.search.values.trial import Ended, Outcome, Paused, Phase, Trial

#: shares of the time of all slots, and of that of a sweep, that a large network may take before it
#: is compared
MOST_OF_SLOTS, MOST_OF_TIME = 0.2, 0.4


#: proposals that are looked at for one that comes far enough before the deadline
LOOKS = 30
#: rungs that a trial should come to by then, so that it can show what it is worth
RUNGS = 3


class SearchPhase:
    """What is proposed and what is cut short; `trials` are all of the sweep, by number."""

    def __init__(self, plan: Plan, problem: SearchProblem, trials: Trials, costs: Costs) -> None:
        self._plan, self._problem, self._trials, self._costs = plan, problem, trials, costs
        #: what is searched: the ladder makes it narrower
        self.space = problem.space
        #: why the search has ended, if not by the number of trials
        self.over: Stop | None = None
        self._rate: BestRate | None = None
        self._proposer: Proposer | None = None
        #: which trials go on; None: all
        self._halving: Halving | None = None
        if plan.halving:
            self._halving = Halving(problem, trials)
        #: the same where trials that do not go on wait, so that they may later
        self.pausing = self._halving if problem.pausable else None
        #: large networks of which one is begun once others have shown what they are worth, the most
        #: promising first, and the number of its trial
        self._large: dict[Config, LargeNetwork] = {}
        self._large_number: int | None = None
        self._observed = Observed()

    # what is known

    def narrow(self, rate: BestRate) -> None:
        self._rate, self.space = rate, rate.narrowed
        if self.pausing:
            begun = set(map(_but_for_windows, self._openings()))
            for one in self._problem.large_openings(rate.rate):
                if _but_for_windows(one.config) not in begun:
                    config = rate.suited(one.config)
                    self._large[config] = replace(one, config=config)
        self._observed = Observed()
        for known in self._trials.values():
            self.put(known)

    def put(self, one: Trial) -> None:
        number, ended, phase = one.number, one.ended, one.phase
        if phase is Phase.SEARCH and self._halving:
            if self._large_number is None and (network := self._large.get(one.config)):
                self._large_number = number
                self._halving.judge_from(number, network.judged_from)
            self._halving.put(one)
        if phase is Phase.CONFIRM:
            return
        # an accident says nothing of a config, unless memory ran out
        is_void = ended and ended.outcome.is_accident and ended.outcome is not Outcome.OUT_OF_MEMORY
        point = {} if is_void else self._observed.point(number) or self._point(one)
        pending = not (is_void or self._is_judged(one))
        loss = one.ranked_loss if ended else one.best_loss
        self._observed.put(number, one.config, point, loss, pending=pending)

    def _is_judged(self, one: Trial) -> bool:
        if one.ended or not self.pausing:
            return one.ended is not None
        return one.phase is Phase.SEARCH and self.pausing.may_judge(one)

    def _point(self, one: Trial) -> dict[str, float]:
        point, config = one.point, one.config
        if one.steps is not None:  # its loss is that of fewer steps than others take
            return {}
        if set(self.space.varying) <= set(point) and self.space.decode(point) == config:
            return point
        return self.space.encode(config) if self.space.admits(config) else {}  # of the ladder

    def end(self, one: Trial) -> None:
        """If the large network has failed by an accident, another may take its place."""
        if one.number == self._large_number and one.ended and one.ended.outcome.is_accident:
            self._large_number = None
            del self._large[one.config]

    # what is tried

    def admits(self, config: Config) -> bool:
        suits = self._rate is None or self._rate.suits(config)
        return suits and self._problem.admits(config)

    def next(self, number: int, left: float | None) -> Proposal | None:
        """What trial `number` tries, `left` seconds before the end of the search.

        None if nothing is left to be tried; `over` says why then.
        """
        if opening := self._opening(left) or self._large_opening(left):
            return Proposal(opening, self.space.encode(opening))
        first, needs = self._problem.first_rung, self._costs.trial_seconds
        far = (rungs(self._problem.rounds, first)[:RUNGS] or (self._problem.rounds,))[-1]
        looked, short = False, None
        for proposal in itertools.islice(self._candidates(number), LOOKS):
            if left is None or needs(proposal.config, far) <= left:
                return proposal
            looked = True
            if short is None and needs(proposal.config, first) <= left:
                short = proposal
        if short is None:
            self.over = out_of_time(self._plan.seconds or 0.0) if looked else space_is_tried(number)
        return short

    def _candidates(self, number: int) -> Iterator[Proposal]:
        plan = self._plan
        if self._proposer is None:  # the space is as narrow as it becomes
            self._proposer = Proposer(
                self.space, seed=plan.seed, algorithm=plan.algorithm, admits=self.admits
            )
        return self._proposer.candidates(number, self._observed)

    def _opening(self, left: float | None) -> Config | None:
        for config in self._openings():
            needs = self._costs.trial_seconds(config, self._problem.first_rung)
            if config not in self._trials.configs and (left is None or needs <= left):
                return config
        return None

    def _large_opening(self, left: float | None) -> Config | None:
        """The large network if it is to be begun now; there is none without a limit of time.

        It is not compared with others before it may lead.
        """
        seconds, needs = self._plan.seconds, self._costs.trial_seconds
        if left is None or seconds is None or self._large_number is not None:
            return None
        most = min(left, min(MOST_OF_SLOTS * self._trials.slots, MOST_OF_TIME) * seconds)
        for config, large in self._large.items():
            has_time = needs(config, large.judged_from) <= most
            if has_time and needs(config, large.rounds) <= left and self.admits(config):
                searched = self._trials.of(Phase.SEARCH)
                shown = max((len(one.rounds) for one in searched), default=0)
                return config if shown >= large.begun_after else None
        return None

    def _openings(self) -> Iterator[Config]:
        """With what the search begins: what was best on its corpus before, then the usual."""
        if self._plan.prior:
            yield from filter(None, map(self._suited, self._problem.prior))
        if rate := self._rate:
            usual = self._problem.openings(rate.rate, lambda one: self.admits(rate.suited(one)))
            yield from map(rate.suited, usual)

    def _suited(self, config: Config) -> Config | None:
        """A config of an earlier sweep with its own rate or the best one; None if not admitted."""
        config = config.evolve(epochs=self.space.epochs)
        others = (config, self._rate.suited(config)) if self._rate else (config,)
        return next((one for one in others if self.space.admits(one) and self.admits(one)), None)

    # what is cut short, and when all is over

    def judge(self, one: Trial) -> Ended | Paused | None:
        return self._halving.judge(one) if self._halving else None

    def find_over(self, begun: int) -> bool:
        """Know again why a search has ended; False if it may go on, as more trials are allowed."""
        if self.has_lost_patience():
            return True
        if not any(self._candidates(begun)):
            self.over = space_is_tried(begun)
        elif self._plan.seconds:
            self.over = out_of_time(self._plan.seconds)
        return self.over is not None

    def has_lost_patience(self) -> bool:
        patience = self._plan.patience
        if self.over and self.over.reason is StopReason.PATIENCE:
            return True
        if patience is None or trials_without_gain(self._trials.of(Phase.SEARCH)) < patience:
            return False
        self.over = out_of_patience(patience)
        return True


def _but_for_windows(config: Config) -> TrialConfig:
    return as_lstm_config(config).evolve(learning_rate=1.0, sequence_length=1)
