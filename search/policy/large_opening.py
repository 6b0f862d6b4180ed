"""`LargeOpening`: a large network that is not compared before it shows its worth.

Dropout makes a network learn more slowly at first and end better (Zaremba et al., arXiv 1409.2329).
At the first rungs such a network is behind smaller ones without dropout, so a search that compares
all of them there cuts it short. Therefore a search under a limit of time begins one of them once
it knows what a trial is worth, and lets it train until it may lead. A corpus that is too large to
be read often needs no dropout, but there, too, larger networks pass smaller ones only after a
while.

Longer windows do the same: an epoch has fewer steps, which see more. Where there is time for them,
the network is begun in those.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from lstm_sweep.models.config import Config, TrialConfig
from lstm_sweep.models.size import parameters
from lstm_sweep.search.policy import halving
from lstm_sweep.search.policy.cost import Costs, DataSize, prior_seconds
from lstm_sweep.search.policy.halving import Pausing
from lstm_sweep.search.policy.lstm_problem import SYMBOLS_EACH, usual_network
from lstm_sweep.search.policy.problem import Admits, LargeNetwork, SearchProblem
from lstm_sweep.search.policy.trials import Slots, Trials
from lstm_sweep.search.values.progress import TrialProgress
from lstm_sweep.search.values.spec import Plan
from lstm_sweep.search.values.trial import Phase
from lstm_sweep.spaces.space import Space

#: epochs of another trial before it is begun: by then cheap networks have shown what they are worth
BEGUN_AFTER = 3
#: epochs before it is compared with others, at least: it is at the first rung from then on
EPOCHS = 8
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
        slots: Slots,
    ) -> None:
        self._trials, self._costs, self._pausing, self._slots = trials, costs, pausing, slots
        self._most_rounds = problem.rounds
        least, self._begun_after = (n * problem.rounds_per_epoch for n in (EPOCHS, BEGUN_AFTER))
        self._rungs = halving.rungs(problem.rounds, problem.first_rung)
        #: after which it is compared; 0 if it cannot be
        self._rounds = next((rung for rung in self._rungs if rung >= least), 0)
        self._seconds = plan.seconds
        #: networks that it may be, in order
        self._candidates: dict[Config, LargeNetwork] = {}
        #: number of its trial
        self._number: int | None = None

    def choose_among(self, networks: Iterable[LargeNetwork]) -> None:
        """Know the networks that it may be, the most promising first."""
        if not self._seconds:
            return
        for one in networks:
            judged_from = self._judged_from(one)
            if judged_from and max(one.rounds, judged_from) <= self._most_rounds:
                self._candidates[one.config] = one

    def _judged_from(self, one: LargeNetwork) -> int:
        """The rung at which it is compared, the nearest if it says when; 0 if there is none."""
        if one.judged_from is None:
            return self._rounds
        off = {rung: abs(math.log(rung / one.judged_from)) for rung in self._rungs}
        nearest = min(off, key=lambda rung: off[rung], default=0)
        return nearest if off.get(nearest, math.inf) <= math.log(halving.FACTOR) / 2 else 0

    def recognize(self, one: TrialProgress) -> None:
        """If a trial of the search is the one, let it not be compared early."""
        number, config = one.trial.number, one.trial.config
        if self._number is None and config in self._candidates:
            self._number = number
            network = self._candidates[config]
            self._pausing.judge_from(number, self._judged_from(network))

    def note_end(self, one: TrialProgress) -> None:
        """If its trial has failed by an accident, another network may take its place."""
        if one.trial.number == self._number and one.ended and one.ended.outcome.is_accident:
            self._number = None
            del self._candidates[one.trial.config]

    def next(self, admits: Admits, left: float | None) -> Config | None:
        """The network if it is to be begun now, `left` seconds before the end of the search.

        None if it is too early or too late, or if there is one already.
        """
        if left is None or self._number is not None or not self._candidates:
            return None
        searched = (one for one in self._trials.values() if one.trial.phase is Phase.SEARCH)
        shown = max((len(one.rounds) for one in searched), default=0)
        for one in self._candidates.values():
            begun_after = self._begun_after if one.begun_after is None else one.begun_after
            if self._has_time(one, left) and admits(one.config):
                return one.config if shown >= begun_after else None
        return None

    def _has_time(self, one: LargeNetwork, left: float) -> bool:
        """Whether a network has its rounds in time, and no more than its share until compared."""
        config, seconds = one.config, self._costs.trial_seconds
        share = min(MOST_OF_SLOTS * self._slots.count, MOST_OF_TIME)
        most = min(share * (self._seconds or 0.0), left)
        return (
            seconds(config, self._judged_from(one)) <= most and seconds(config, one.rounds) <= left
        )


#: rounds for which there must be time, at least: by then a network has been judged twice, and goes
#: on
FEWEST_ROUNDS = halving.FACTOR**2


def has_room(
    units: int, space: Space, data_size: DataSize, seconds: float | None, admits: Admits
) -> bool:
    """Whether networks with layers of so many units are admitted, and fit into so many seconds.

    They do if the usual network with the fewest layers, of that size, takes at most `MOST_OF_TIME`
    of the time to read `SYMBOLS_EACH` symbols for each of its parameters, as a large network has
    when it is compared, and has as many epochs. Without a limit of time there is nothing to say so.
    """
    fewest = (space["layers"].values() or [1])[0]
    large = usual_network(space, admits).evolve(layers=fewest, layer_size=units)
    if seconds is None or not admits(large):
        return False
    rounds = rounds_to_read(large, data_size)
    has_time = rounds * prior_seconds(large, data_size) <= MOST_OF_TIME * seconds
    return has_time and rounds <= space.epochs * data_size.rounds_per_epoch


def rounds_to_read(config: TrialConfig, data_size: DataSize) -> float:
    """Rounds in which a network reads what it needs to show its worth."""
    needed = SYMBOLS_EACH * parameters(config, data_size.alphabet)
    return max(FEWEST_ROUNDS, needed / (data_size.symbols / data_size.rounds_per_epoch))
