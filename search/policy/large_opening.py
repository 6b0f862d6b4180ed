"""`LargeOpening`: a large network with dropout that is not compared before it shows its worth.

Dropout makes a network learn more slowly at first and end better (Zaremba et al., arXiv 1409.2329).
At the first rungs such a network is behind smaller ones without dropout, so a search that compares
all of them there cuts it short (docs/results.md has the curves). Therefore a search under a limit
of time begins one of them once it knows what a trial is worth, and lets it train until it may lead.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from lstm_sweep.models.config import Config
from lstm_sweep.search.policy.cost import Costs
from lstm_sweep.search.policy.pausing import Pausing
from lstm_sweep.search.policy.plan import Plan
from lstm_sweep.search.policy.problem import Admits, SearchProblem
from lstm_sweep.search.policy.trials import Trials
from lstm_sweep.search.progress import TrialSnapshot

#: epochs of another trial before it is begun: by then cheap networks have shown what they are worth
BEGUN_AFTER = 3
#: epochs before it is compared with others
EPOCHS = 8
#: share that these may take of the time of all slots, and of the time of a sweep
MOST_OF_SLOTS, MOST_OF_TIME = 0.2, 0.5


class LargeOpening:
    """Which network that is, and when it is begun; there is one at most in a sweep.

    It reads `trials`, all of a sweep by number, which grow while the sweep goes on.
    """

    def __init__(
        self,
        plan: Plan,
        problem: SearchProblem,
        trials: Trials,
        costs: Costs,
        pausing: Pausing,
        slots: int,
    ) -> None:
        self._trials, self._costs, self._pausing = trials, costs, pausing
        per_epoch = problem.rounds_per_epoch
        self._rounds, self._begun_after = EPOCHS * per_epoch, BEGUN_AFTER * per_epoch
        #: seconds that its first `EPOCHS` may take
        self._most_seconds = 0.0
        if plan.seconds is not None and self._rounds < problem.rounds:
            self._most_seconds = min(MOST_OF_SLOTS * slots, MOST_OF_TIME) * plan.seconds
        #: networks that it may be, the largest first
        self._candidates: tuple[Config, ...] = ()

    def choose_among(self, candidates: Iterable[Config], others: Collection[Config]) -> None:
        """Know the networks that it may be, the largest first; `others` are openings themselves."""
        self._candidates = tuple(one for one in candidates if one not in others)

    def recognize(self, one: TrialSnapshot) -> None:
        """If a trial of the search is the one, let it not be compared early."""
        if one.trial.config in self._candidates:
            self._pausing.wait_for(one.trial.number, self._rounds)

    def next(self, admits: Admits, left: float | None) -> Config | None:
        """The network if it is to be begun now, `left` seconds before the end of the search.

        None if it is too early or too late, or if there is one already.
        """
        if left is None or not self._candidates:
            return None
        if not self._trials.configs.isdisjoint(self._candidates):
            return None
        if not any(len(one.rounds) >= self._begun_after for one in self._trials.values()):
            return None
        most = min(self._most_seconds, left)
        for config in self._candidates:
            if self._costs.trial_seconds(config, self._rounds) <= most and admits(config):
                return config
        return None
