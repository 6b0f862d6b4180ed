"""`LargeOpening`: a large network with dropout that is not compared before it shows its worth.

Dropout makes a network learn more slowly at first and end better (Zaremba et al., arXiv 1409.2329).
At the first rungs such a network is behind smaller ones without dropout, so a search that compares
all of them there cuts it short (docs/results.md has the curves). Therefore a search under a limit
of time begins one of them once it knows what a trial is worth, and lets it train until it may lead.

Longer windows do the same: an epoch has fewer steps, which see more. Where there is time for them,
the network is begun in those.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from lstm_sweep.models.config import Config
from lstm_sweep.search.policy import halving
from lstm_sweep.search.policy.cost import Costs
from lstm_sweep.search.policy.pausing import Pausing
from lstm_sweep.search.policy.plan import Plan
from lstm_sweep.search.policy.problem import Admits, SearchProblem
from lstm_sweep.search.policy.trials import Trials
from lstm_sweep.search.progress import TrialSnapshot
from lstm_sweep.search.trial import Phase

#: epochs of another trial before it is begun: by then cheap networks have shown what they are worth
BEGUN_AFTER = 3
#: epochs before it is compared with others, at least: it is at the first rung from then on
EPOCHS = 8
#: epochs for which there has to be time if it is begun in longer windows: they pay from about six
#: on source code, and from about eight on a text
EPOCHS_IN_LONGER = 12
#: share that `EPOCHS` may take of the time of all slots, and of the time of a sweep
MOST_OF_SLOTS, MOST_OF_TIME = 0.2, 0.4


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
        self._in_longer_windows = problem.in_longer_windows
        least, self._begun_after, self._rounds_in_longer = (
            epochs * problem.rounds_per_epoch for epochs in (EPOCHS, BEGUN_AFTER, EPOCHS_IN_LONGER)
        )
        rungs = halving.rungs(problem.rounds, problem.first_rung)
        #: after which it is compared, and seconds that they may take; 0 if it cannot be compared
        self._rounds = next((rung for rung in rungs if rung >= least), 0)
        self._most_seconds = 0.0
        if plan.seconds is not None and self._rounds:
            self._most_seconds = min(MOST_OF_SLOTS * slots, MOST_OF_TIME) * plan.seconds
        #: networks that it may be, the largest first, and the number of its trial
        self._candidates: tuple[Config, ...] = ()
        #: these, and the same in longer windows
        self._known: set[Config] = set()
        self._number: int | None = None

    def choose_among(self, candidates: Iterable[Config], others: Collection[Config]) -> None:
        """Know the networks that it may be, the largest first; `others` are openings themselves."""
        if self._most_seconds:
            self._candidates = tuple(one for one in candidates if one not in others)
            longer = map(self._in_longer_windows, self._candidates)
            self._known = {*self._candidates, *(one for one in longer if one not in others)}

    def recognize(self, one: TrialSnapshot) -> None:
        """If a trial of the search is the one, let it not be compared early."""
        if self._number is None and one.trial.config in self._known:
            self._number = one.trial.number
            self._pausing.judge_from(self._number, self._rounds)

    def next(self, admits: Admits, left: float | None) -> Config | None:
        """The network if it is to be begun now, `left` seconds before the end of the search.

        None if it is too early or too late, or if there is one already.
        """
        if left is None or self._number is not None or not self._candidates:
            return None
        searched = (one for one in self._trials.values() if one.trial.phase is Phase.SEARCH)
        if not any(len(one.rounds) >= self._begun_after for one in searched):
            return None
        most = min(self._most_seconds, left)
        for config in self._candidates:
            if self._costs.trial_seconds(config, self._rounds) <= most and admits(config):
                return self._in_its_windows(config, admits, left)
        return None

    def _in_its_windows(self, config: Config, admits: Admits, left: float) -> Config:
        """A candidate in longer windows if these pay in the seconds that are left."""
        longer = self._in_longer_windows(config)
        if longer not in self._known or not admits(longer):
            return config
        seconds = self._costs.trial_seconds(longer, self._rounds_in_longer)
        return longer if seconds <= left else config
