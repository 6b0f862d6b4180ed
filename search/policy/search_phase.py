"""The search proper: which config is tried next, and when it ends.

Which trials are paused is decided by `Pausing`; which trials of templates are pruned, here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from lstm_sweep.models.config import Config, TrialConfig, as_lstm_config
from lstm_sweep.search.policy import halving, importance
from lstm_sweep.search.policy.confirmation import is_complete
from lstm_sweep.search.policy.cost import Costs
from lstm_sweep.search.policy.halving import Extrapolation, Pausing
from lstm_sweep.search.policy.ladder import BestRate
from lstm_sweep.search.policy.large_opening import LargeOpening
from lstm_sweep.search.policy.lstm_problem import network
from lstm_sweep.search.policy.problem import SearchProblem
from lstm_sweep.search.policy.proposer import STARTUP, ObservedTrials, Proposal, Proposer
from lstm_sweep.search.policy.trials import Array, Slots, Trials, grown
from lstm_sweep.search.values.progress import TrialProgress
from lstm_sweep.search.values.spec import Plan
from lstm_sweep.search.values.stop_reason import (
    Stop,
    StopReason,
    out_of_patience,
    out_of_time,
    space_is_tried,
    trials_without_gain,
)
from lstm_sweep.search.values.trial import Ended, Outcome, Paused, Phase


class MemoryLimits:
    """What failures for want of memory say of other networks.

    Another program may have used up the memory. So such a failure limits the search only if a
    network that needs no more was trained, and none that needs as much. What is known does not
    depend on the order in which trials end.
    """

    def __init__(self, needs_as_much: Callable[[Config, Config], bool]) -> None:
        """`needs_as_much` tells whether one config needs as much memory as another, or more."""
        self._needs_as_much = needs_as_much
        #: configs that have come to the end of a round, by the number of their first trial
        self._trained: dict[int, Config] = {}
        #: trials that have failed for want of memory, but those that others have refuted
        self._failed: list[TrialProgress] = []
        #: those of them that limit the search
        self.limits: list[TrialProgress] = []

    def note_rounds(self, one: TrialProgress) -> None:
        """Know that a trial has come to the end of a round, if it has."""
        number, config = one.trial.number, one.trial.config
        if not one.rounds or number in self._trained:
            return
        self._trained[number] = config
        if self._failed:
            as_much = self._needs_as_much
            self._failed = [o for o in self._failed if not as_much(config, o.trial.config)]
            self._find_limits()

    def note_end(self, one: TrialProgress) -> None:
        """Know how a trial has ended that is not tried again."""
        if one.ended is None or one.ended.outcome is not Outcome.OUT_OF_MEMORY:
            return
        config, trained = one.trial.config, self._trained.values()
        if not any(self._needs_as_much(other, config) for other in trained):
            self._failed.append(one)
            self._find_limits()

    def _find_limits(self) -> None:
        self.limits = [one for one in self._failed if self._is_above_another(one.trial.config)]

    def _is_above_another(self, config: Config) -> bool:
        return any(self._needs_as_much(config, other) for other in self._trained.values())

    def leaves_out(self, config: Config) -> bool:
        """Whether a config needs as much memory as one that has used it up."""
        return any(self._needs_as_much(config, limit.trial.config) for limit in self.limits)

    def lines(self) -> list[str]:
        """A line for people for each failure that limits the search."""
        return list(map(_line, self.limits))


def _line(one: TrialProgress) -> str:
    config = as_lstm_config(one.trial.config)
    return (
        f"{one.trial.id} ran out of memory: {config.direction} networks with {config.layers} or "
        f"more layers of {config.layer_size} or more, batches of {config.batch_size} or more and "
        f"windows of {config.sequence_length} or more are left out, unless one of them is trained"
    )


#: first proposals of a search of which the one with the cheapest steps is tried first
CHOICES = 3
#: proposals that are looked at for one that comes far enough before the deadline
LOOKS = 30
#: rungs that a trial should come to by then, so that it can show what it is worth
RUNGS = 3


class SearchPhase:
    """What is proposed and what is cut short; `trials` are all of the sweep, by number."""

    def __init__(
        self,
        plan: Plan,
        problem: SearchProblem,
        trials: Trials,
        costs: Costs,
        slots: Slots,
    ) -> None:
        self._plan, self._problem, self._trials, self._costs = plan, problem, trials, costs
        #: what is searched: the ladder makes it narrower
        self.space = problem.space
        #: why the search has ended, if not by the number of trials
        self.over: Stop | None = None
        #: best losses by the round and the number of the trial
        self._rungs: dict[int, dict[int, float]] = {}
        self._memory = MemoryLimits(problem.needs_as_much_memory)
        self._rate: BestRate | None = None
        self._proposer: Proposer | None = None
        #: which trials wait and which go on; None if a trial that does not go on has ended
        self.pausing: Pausing | None = None
        self._extrapolation = Extrapolation(problem.rounds, problem.first_rung)
        if plan.halving and problem.pausable:
            self.pausing = Pausing(problem, trials, slots, self._extrapolation.losses)
        #: the opening that comes later; None if trials do not wait
        self._large: LargeOpening | None = None
        if self.pausing:
            self._large = LargeOpening(plan, problem, trials, costs, self.pausing, slots)
        #: what trials have returned, by their number; NaN without a result
        self._returned = np.full(0, np.nan)
        self._observed = ObservedTrials()

    def narrow(self, rate: BestRate) -> None:
        """Keep to learning rates near to the best one."""
        self._rate, self.space = rate, rate.narrowed
        if self._large:
            begun = set(map(_but_for_windows, self._openings()))
            large = self._problem.large_openings(rate.rate)
            new = (one for one in large if _but_for_windows(one.config) not in begun)
            self._large.choose_among(replace(one, config=rate.suited(one.config)) for one in new)
        self._observed = ObservedTrials()
        for one in self._trials.values():
            self.put(one)

    def put(self, one: TrialProgress) -> None:
        """Know a trial of any phase, or what has become of it."""
        number, ended = one.trial.number, one.ended
        self._memory.note_rounds(one)
        if self._problem.objective.returned:
            self._returned = grown(self._returned, number + 1)
            self._returned[number] = np.nan if one.ranked_loss is None else one.ranked_loss
        else:
            failed = ended is not None and not ended.outcome.ranks
            over = is_complete(one) and one.trial.phase is Phase.SEARCH
            self._extrapolation.put(number, () if failed else one.best_so_far, over=over)
        if self.pausing and one.trial.phase is Phase.SEARCH:
            if self._large:
                self._large.recognize(one)
            self.pausing.put(one)
        self._observe(one)

    def _observe(self, one: TrialProgress) -> None:
        if one.trial.phase is Phase.CONFIRM:
            return
        number, config = one.trial.number, one.trial.config
        if one.ended and one.ended.outcome.is_accident:  # nothing is known of that point
            self._observed.put(number, config, {}, pending=False)
            return
        point = self._observed.point(number) or self._point(one)
        self._observed.put(number, config, point, pending=not self._is_judged(one))

    def _losses(self) -> Array:
        """What TPE is told of each trial, by its number; NaN of those that have no loss."""
        if self._problem.objective.returned:
            return self._returned
        return self._extrapolation.losses()

    # what is tried

    def admits(self, config: Config) -> bool:
        """Whether a config may be tried."""
        suits = self._rate is None or self._rate.suits(config)
        return suits and self._problem.admits(config) and not self.too_large(config)

    def too_large(self, config: Config) -> bool:
        """Whether a config needs as much memory as one that has used it up."""
        return self._memory.leaves_out(config)

    def left_out(self) -> list[str]:
        """Lines for people: what is not tried any more, for want of memory."""
        return self._memory.lines()

    def next(self, number: int, left: float | None) -> Proposal | None:
        """What trial `number` tries, `left` seconds before the end of the search.

        None if nothing is left to be tried; `over` says why then.
        """
        if opening := self._opening(left):
            return Proposal(opening, self.space.encode(opening))
        if self._large and (large := self._large.next(self.admits, left)):
            return Proposal(large, self.space.encode(large))
        some: list[Proposal] = []
        #: those that only come to their first rung
        short: list[Proposal] = []
        least = math.inf
        wanted = CHOICES if number < STARTUP else 1
        candidates = self._propose().candidates(number, self._observed.observations(self._losses()))
        for proposal in itertools.islice(candidates, LOOKS):
            needs = self._costs.trial_seconds(proposal.config, self._problem.first_rung)
            least = min(least, needs)
            if left is None or self._costs.trial_seconds(proposal.config, self._far) <= left:
                some.append(proposal)
            elif needs <= left:
                short.append(proposal)
            if len(some) == wanted:
                break
        if several := some or short[:wanted]:
            # the first is the most promising: one of the hypercube as long as it has any
            blind = several[0].acquisition is None
            alike = (one for one in several if (one.acquisition is None) == blind)
            return max(alike, key=self._worth)
        is_tried = least == math.inf
        self.over = self._tried(number) if is_tried else out_of_time(self._plan.seconds or 0.0)
        return None

    @property
    def _far(self) -> int:
        """Rounds that a trial should come to before the deadline."""
        rungs = halving.rungs(self._problem.rounds, self._problem.first_rung)[:RUNGS]
        return rungs[-1] if rungs else self._problem.rounds

    def _worth(self, proposal: Proposal) -> float:
        if proposal.acquisition is None:  # nothing is known of any: the one that learns soonest
            return -self._costs.step_seconds(proposal.config)
        return proposal.acquisition

    def _propose(self) -> Proposer:
        """Make the proposer, once the space is as narrow as it becomes."""
        if self._proposer is None:
            plan = self._plan
            self._proposer = Proposer(
                self.space, seed=plan.seed, algorithm=plan.algorithm, admits=self.admits
            )
        return self._proposer

    def _opening(self, left: float | None) -> Config | None:
        """A sensible config to begin with; None if none is left."""
        used = self._trials.configs
        for config in self._openings():
            needs = self._costs.trial_seconds(config, self._problem.first_rung)
            if config not in used and (left is None or needs <= left):
                return config
        return None

    def _openings(self) -> Iterator[Config]:
        """With what the search begins: what was best on its corpus before, then the usual."""
        if self._plan.prior:
            yield from filter(None, map(self._suited, self._problem.prior))
        if rate := self._rate:
            usual = self._problem.openings(rate.rate, lambda one: self.admits(rate.suited(one)))
            yield from map(rate.suited, usual)

    def _suited(self, config: Config) -> Config | None:
        """A config of an earlier sweep as this one may try it; None if it may not.

        Its learning rate is the one that it had, or if this ladder speaks against that, the best.
        """
        config = config.evolve(epochs=self.space.epochs)
        others = (config, self._rate.suited(config)) if self._rate else (config,)
        return next((one for one in others if self.space.admits(one) and self.admits(one)), None)

    # what is known

    def _own(self) -> list[TrialProgress]:
        return [one for one in self._trials.values() if one.trial.phase is Phase.SEARCH]

    def _is_judged(self, one: TrialProgress) -> bool:
        """Whether TPE is told how good a trial is."""
        if one.ended or not self.pausing:
            return one.ended is not None
        return one.trial.phase is Phase.SEARCH and self.pausing.may_judge(one)

    def _point(self, one: TrialProgress) -> dict[str, float]:
        point, config = one.trial.point, one.trial.config
        if one.trial.steps is not None:  # its loss is that of fewer steps than others take
            return {}
        if set(self.space.varying) <= set(point) and self.space.decode(point) == config:
            return point
        # one of the ladder, or of a version of this program that searched listed rates only
        return self.space.encode(config) if self.space.admits(config) else {}

    def objective_values(self) -> dict[int, float]:
        """What TPE is told of each trial that has a loss, by its number.

        Of one that was cut short that is what its loss would have come to; if losses are returned,
        it has none.
        """
        losses = self._losses()
        return {int(number): float(losses[number]) for number in np.flatnonzero(~np.isnan(losses))}

    def importance(self) -> dict[str, float] | None:
        """Share of the variance of the loss that each hyperparameter explains.

        Trials that diverged or did worse than the unigram baseline count with its loss.
        """
        losses, untrained = self.objective_values(), self._problem.untrained_loss
        worst = math.inf if untrained is None else untrained
        found = {
            one.trial.config: min(losses.get(number, math.inf), worst)
            for number, one in self._trials.items()
            if one.trial.phase is not Phase.CONFIRM
            and one.ended
            and not one.ended.outcome.is_accident
        }
        finite = {config: loss for config, loss in found.items() if math.isfinite(loss)}
        return importance.shares(self._problem.space, finite, self._plan.seed)

    # what is cut short, and when all is over

    def note_rounds(self, one: TrialProgress) -> None:
        """Remember how good a trial was after each of its rounds, if that is asked at rungs."""
        if self.pausing:
            return
        for number, best in enumerate(one.best_so_far, start=1):
            self._rungs.setdefault(number, {})[one.trial.number] = best

    def judge(self, one: TrialProgress) -> Ended | Paused | None:
        """How a trial ends after a round, or why it is paused; None if it goes on."""
        if self.pausing:
            return self.pausing.judge(one)
        number, first = len(one.rounds), self._problem.first_rung
        if not self._plan.halving or number not in halving.rungs(one.trial.rounds, first):
            return None
        others = [v for n, v in self._rungs[number].items() if n != one.trial.number]
        places = halving.FIRST_PLACES if number == first else 1
        epoch = one.trial.epoch_text(number)
        decision = halving.decide(epoch, one.best_so_far[-1], others, places=places)
        return None if decision.go_on else Ended(Outcome.PRUNED, decision.reason)

    def note_end(self, one: TrialProgress) -> None:
        """Know how a trial has ended that is not tried again, in whichever phase."""
        self._memory.note_end(one)
        if self._large:
            self._large.note_end(one)

    def find_over(self, begun: int) -> bool:
        """Know again why a search has ended that might have begun more than so many trials.

        False if it may go on, since more trials were allowed after it had ended.
        """
        if self.has_lost_patience():
            return True
        known = self._observed.observations(self._losses())
        if not any(self._propose().candidates(begun, known)):
            self.over = self._tried(begun)
        elif self._plan.seconds:
            self.over = out_of_time(self._plan.seconds)
        return self.over is not None

    def has_lost_patience(self) -> bool:
        """Whether too many trials have brought nothing; `over` says so then."""
        patience = self._plan.patience
        if self.over and self.over.reason is StopReason.PATIENCE:
            return True
        if patience is None or trials_without_gain(self._own()) < patience:
            return False
        self.over = out_of_patience(patience)
        return True

    def _tried(self, begun: int) -> Stop:
        """All of the space is tried, but for what would need too much memory."""
        return space_is_tried(begun, [one.trial.id for one in self._memory.limits])


def _but_for_windows(config: Config) -> TrialConfig:
    """A network, whatever its learning rate and its windows."""
    return network(as_lstm_config(config)).evolve(sequence_length=1)
