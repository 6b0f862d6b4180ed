"""The search proper: which config is tried next, which trials are cut short, and when it ends."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping

from lstm_sweep.models.config import Config
from lstm_sweep.search.policy import halving, importance, ladder
from lstm_sweep.search.policy.cost import Costs
from lstm_sweep.search.policy.plan import Plan
from lstm_sweep.search.policy.problem import SearchProblem
from lstm_sweep.search.policy.proposer import STARTUP, Observation, Proposal, Proposer
from lstm_sweep.search.policy.stop_reason import Stop, StopReason
from lstm_sweep.search.trial import Ended, Outcome, Phase, TrialSnapshot

#: proposals that are looked at for one that reaches its first rung before the deadline
LOOKS = 30


class SearchPhase:
    """What is proposed and what is cut short; `trials` are all of the sweep, by number."""

    def __init__(
        self,
        plan: Plan,
        problem: SearchProblem,
        trials: Mapping[int, TrialSnapshot],
        costs: Costs,
    ) -> None:
        self._plan, self._problem, self._trials, self._costs = plan, problem, trials, costs
        #: what is searched: the ladder makes it narrower
        self.space = problem.space
        #: why the search has ended, if not by the number of trials
        self.over: Stop | None = None
        #: best losses by the round and the number of the trial
        self._rungs: dict[int, dict[int, float]] = {}
        #: configs that used up the memory
        self._exhausting: list[Config] = []
        self._best_rate: float | None = None
        self._proposer: Proposer | None = None

    def narrow(self, best_rate: float) -> None:
        """Keep to learning rates near to the best one."""
        self._best_rate = best_rate
        self.space = ladder.narrowed(self.space, best_rate)

    # what is tried

    def admits(self, config: Config) -> bool:
        """Whether a config may be tried."""
        return self._problem.admits(config) and not self.too_large(config)

    def too_large(self, config: Config) -> bool:
        """Whether a config that is smaller in nothing has used up the memory."""
        as_much = self._problem.needs_as_much_memory
        return any(as_much(config, large) for large in self._exhausting)

    def next(self, number: int, left: float | None) -> Proposal | None:
        """What trial `number` tries, `left` seconds before the end of the search.

        None if nothing is left to be tried; `over` says why then.
        """
        if opening := self._opening(left):
            return Proposal(opening, self.space.encode(opening))
        some: list[Proposal] = []
        least = math.inf
        wanted = self._plan.choices if number < STARTUP else 1
        candidates = self._propose().candidates(number, self._observations())
        for proposal in itertools.islice(candidates, LOOKS):
            needs = self._costs.trial_seconds(proposal.config, self._problem.first_rung)
            least = min(least, needs)
            if left is None or needs <= left:
                some.append(proposal)
            if len(some) == wanted:
                break
        if some:
            return max(some, key=self._worth)
        text = f"{left or 0:.0f} s are left, and a trial's first rung takes {least:.0f} s"
        self.over = Stop(StopReason.MINUTES, text)
        if least == math.inf:
            text = f"all {number} configs of the space that may be tried are begun"
            self.over = Stop(StopReason.SPACE, text)
        return None

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
        """A sensible config to begin with, once the ladder has found a rate; else None."""
        if self._best_rate is None or not self._plan.opening or self._own():
            return None
        config = self._problem.opening(self._best_rate, self.admits)
        used = {one.trial.config for one in self._trials.values()}
        if config is None or config in used:
            return None
        needs = self._costs.trial_seconds(config, self._problem.first_rung)
        return None if left is not None and needs > left else config

    # what is known

    def _own(self) -> list[TrialSnapshot]:
        return [one for one in self._trials.values() if one.trial.phase is Phase.SEARCH]

    def _observations(self) -> list[Observation]:
        trained = [one for one in self._trials.values() if one.trial.phase is not Phase.CONFIRM]
        losses = self.objective_values()
        return [
            Observation(
                one.trial.number,
                one.trial.config,
                self._point(one),
                losses.get(one.trial.number) if one.ended else None,
                pending=one.ended is None,
            )
            for one in sorted(trained, key=lambda one: one.trial.number)
        ]

    def _point(self, one: TrialSnapshot) -> dict[str, float]:
        if one.trial.phase is Phase.SEARCH:
            return one.trial.point
        inside = self.space.admits(one.trial.config)
        return self.space.encode(one.trial.config) if inside else {}

    def objective_values(self) -> dict[int, float]:
        """What TPE is told of each trial that has a loss, by its number.

        Of one that was cut short that is what its loss would have come to; if losses are returned,
        it has none.
        """
        if self._problem.objective.returned:
            ranked = {number: one.ranked_loss for number, one in self._trials.items()}
            return {number: loss for number, loss in ranked.items() if loss is not None}
        curves = {
            number: one.best_so_far
            for number, one in self._trials.items()
            if one.rounds and (one.ended is None or one.ended.outcome.ranks)
        }
        return halving.extrapolated_losses(curves, self._problem.rounds, self._problem.first_rung)

    def importance(self) -> dict[str, float] | None:
        """Share of the variance of the loss that each hyperparameter explains.

        Trials that failed or did worse than guessing count as guessing.
        """
        losses, untrained = self.objective_values(), self._problem.untrained_loss
        worst = math.inf if untrained is None else untrained
        found = {
            one.trial.config: min(losses.get(number, math.inf), worst)
            for number, one in self._trials.items()
            if one.trial.phase is not Phase.CONFIRM and one.ended
        }
        finite = {config: loss for config, loss in found.items() if math.isfinite(loss)}
        return importance.shares(self._problem.space, finite, self._plan.seed)

    # what is cut short, and when all is over

    def note_round(self, one: TrialSnapshot) -> None:
        """Remember how good a trial is after its last round."""
        self._rungs.setdefault(len(one.rounds), {})[one.trial.number] = one.best_so_far[-1]

    def restore_rounds(self, one: TrialSnapshot) -> None:
        """Remember how good a trial was after each of its rounds."""
        for number, best in enumerate(one.best_so_far, start=1):
            self._rungs.setdefault(number, {})[one.trial.number] = best

    def judge(self, one: TrialSnapshot) -> Ended | None:
        """How a trial ends after a round; None if it goes on."""
        number, first = len(one.rounds), self._problem.first_rung
        if not self._plan.halving or number not in halving.rungs(one.trial.rounds, first):
            return None
        if number < self._problem.judged_from(one.trial.config):
            return None
        others = [v for n, v in self._rungs[number].items() if n != one.trial.number]
        places = halving.FIRST_PLACES if number == first else 1
        epoch = one.trial.epoch_text(number)
        decision = halving.decide(epoch, one.best_so_far[-1], others, places=places)
        return None if decision.go_on else Ended(Outcome.PRUNED, decision.reason)

    def note_end(self, one: TrialSnapshot) -> None:
        """Remember what has used up the memory, in whichever phase."""
        if one.ended and one.ended.outcome is Outcome.OUT_OF_MEMORY:
            self._exhausting.append(one.trial.config)

    def has_lost_patience(self) -> bool:
        """Whether too many trials have brought nothing; `over` says so then."""
        patience = self._plan.patience
        if patience is None or self.trials_without_gain() < patience:
            return False
        self.over = Stop(StopReason.PATIENCE, f"no better for {patience} trials")
        return True

    def trials_without_gain(self) -> int:
        """Trials of the search that have ended since the best loss improved by more than noise."""
        since, best = 0, math.inf
        ended = [one for one in self._own() if one.ended]
        for one in sorted(ended, key=lambda one: one.began + one.seconds):
            loss = one.ranked_loss
            if loss is not None and loss < best - noise(one):
                since, best = 0, loss
            else:
                since += 1
        return since


def noise(one: TrialSnapshot) -> float:
    """How much a trial's validation loss moves from round to round once it has settled, nats.

    The median absolute step over the second half of its rounds.
    """
    losses = [loss for loss in one.val_losses if loss is not None]
    later = losses[len(losses) // 2 :]
    steps = [abs(a - b) for a, b in itertools.pairwise(later)]
    return statistics.median(steps) if steps else 0.0
