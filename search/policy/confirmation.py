"""The best configs trained again with further seeds: which, how often, and what that says."""

from __future__ import annotations

import heapq
import math
import statistics
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from lstm_sweep.models.config import Config
from lstm_sweep.search.policy.problem import Costs, SearchProblem, Trials
from lstm_sweep.search.values.spec import Plan
from lstm_sweep.search.values.sweep import Confirmed
from lstm_sweep.search.values.trial import Outcome, Phase, Trial


def compare(found: Sequence[Confirmed]) -> list[Confirmed]:
    """Compare each with the config of the best trial, by Welch's t test, and put that first.

    Others follow by mean; those of which seeds have failed come last. Where the test has no answer,
    as for losses that are all the same, chance explains everything.
    """
    best = next((one for one in found if one.is_best), None)
    compared = [one if best is None or one is best else _compared(one, best) for one in found]
    return sorted(compared, key=_place)


def _place(one: Confirmed) -> tuple[bool, bool, float]:
    return bool(one.failed), not one.is_best, math.inf if one.mean is None else one.mean


def _compared(one: Confirmed, best: Confirmed) -> Confirmed:
    from scipy.stats import ttest_ind

    if min(len(one.losses), len(best.losses)) < 2:
        return one
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of losses that are nearly the same
        p = float(ttest_ind(one.losses, best.losses, equal_var=False).pvalue)
    above = statistics.fmean(one.losses) - statistics.fmean(best.losses)
    return replace(one, above=above, p=p if math.isfinite(p) else 1.0)


def is_complete(progress: Trial) -> bool:
    return progress.ended is not None and progress.ended.outcome is Outcome.COMPLETE


def is_whole(one: Trial) -> bool:
    """Whether a trial has ended and took for its rounds, and beyond them, what others take.

    One that hung or failed took longer, and one that went on from a checkpoint began later. A
    template's has no checkpoint, and is whole once it has returned.
    """
    if one.objective.returned:
        return one.ended is not None and one.ended.loss is not None
    return is_complete(one) and one.attempt == 1 and not one.waited


def _is_comparable(again: Trial, first: Trial) -> bool:
    """Whether the lowest loss of a further run can be compared with that of the first.

    One that was cut short can if it had as many rounds as the first run needed for its lowest loss;
    with fewer its own lowest loss would be too high.
    """
    most = again.most_rounds
    if is_complete(again) and (most is None or len(again.rounds) < most):
        return True
    needed = None if first.objective.returned else first.best_round
    return bool(again.ended and needed and len(again.rounds) >= needed)


def confirmed(trials: Iterable[Trial], best: Config | None) -> list[Confirmed]:
    """What further seeds say of the configs of some trials that were trained again.

    `best` is the config of the best trial of their sweep. A run that goes on later has not ended.
    Of several first runs of a config the best counts, but none of a number of steps only: the
    search may try the config with which a ladder took a few steps.
    """
    ended = [one for one in trials if one.ended and not one.ended.unfinished]
    first_runs: dict[Config, Trial] = {}
    further: dict[Config, list[Trial]] = {}
    for one in sorted(ended, key=_order):
        config = one.config
        if one.phase is Phase.CONFIRM:
            further.setdefault(config, []).append(one)
        elif one.ranked_loss is not None:
            first_runs.setdefault(config, one)
    found = []
    for config, first in first_runs.items():
        losses, failed = list[float](), Counter[Outcome]()
        for again in sorted(further.get(config, ()), key=lambda one: one.number):
            loss = again.ranked_loss if _is_comparable(again, first) else None
            if loss is not None:
                losses.append(loss)
            elif again.ended:
                failed[again.ended.outcome] += 1
        if losses or failed:
            loss = first.ranked_loss or 0.0
            seeds = tuple(losses), dict(failed)
            found.append(Confirmed(first.id, loss, *seeds, is_best=config == best))
    return compare(found)


def _order(one: Trial) -> tuple[bool, float, int]:
    loss = math.inf if one.ranked_loss is None else one.ranked_loss
    return one.steps is not None, loss, one.number


#: share of a budget that is kept for confirming the best configs, at most
SHARE = 0.25
#: further seeds that a config gets before another is confirmed too, if there is room for few
FEWEST_SEEDS = 2

#: how much longer than predicted a further run may take, and seconds until search trials that make
#: room for it have ended, or that are left when it ends
SLACK, GRACE_S = 1.15, 2.0


def makespan(seconds: Sequence[float], slots: int) -> float:
    """Seconds until trials have ended that begin in this order, each on the first free slot."""
    free = [0.0] * slots
    for each in seconds:
        heapq.heappush(free, heapq.heappop(free) + each)
    return max(free)


@dataclass(frozen=True)
class Reserve:
    """What is kept of a budget to train the best configs again."""

    trials: int
    #: of the end of the time; 0 if that is not limited, or nothing is known yet
    seconds: float = 0.0


class Confirmation:
    """Which configs of `trials` are trained again, and how much of the budget that may take."""

    def __init__(self, plan: Plan, problem: SearchProblem, trials: Trials, costs: Costs) -> None:
        self._plan, self._problem, self._trials, self._costs = plan, problem, trials, costs
        #: further runs that there are to be in all; None before the search is over
        self._total: int | None = None
        self._most = plan.confirm_configs * plan.confirm_seeds
        #: without so many further seeds of a config it gets none
        self._fewest = min(FEWEST_SEEDS, plan.confirm_seeds)

    def to_confirm(self) -> list[Trial]:
        """The best configs that have ended, but those of a ladder of steps, which are untrained."""
        trained = [one for one in self._trials.ranked if one.steps is None]
        return trained[: self._plan.confirm_configs]

    def results(self) -> list[Confirmed]:
        """The configs that were trained again, that of the best trial first."""
        ranked = [one for one in self._trials.values() if one.ranked_loss is not None]
        best = min(ranked, key=lambda one: (one.ranked_loss, one.number), default=None)
        return confirmed(self._trials.values(), best.config if best else None)

    def omitted(self) -> str:
        """Why the best config was not trained again, if the budget was too small; else nothing."""
        plan, best, again = self._plan, next(iter(self.to_confirm()), None), self._trials.again
        if best is None or not self._most or any(one.config == best.config for one in again):
            return ""
        not_again = f"{best.id} was not trained again:"
        if min(self._most, int(plan.trials * SHARE)) < self._fewest:
            enough = math.ceil(self._fewest / SHARE)
            return f"{not_again} that needs {enough} trials or more"
        if plan.seconds is None:
            return ""
        needs, kept = self._turns() * self.seconds_of(best), SHARE * plan.seconds
        few = f"a quarter of the time, {kept:.0f} s, is kept for that"
        if SLACK * needs <= kept:
            few = "no trial was left" if self._total == len(again) else "no time was left"
        seeds = f"{self._fewest} further run{'s' if self._fewest > 1 else ''} of it"
        return f"{not_again} {seeds} take about {needs:.0f} s, and {few}"

    def reserve(self, left: float | None) -> Reserve:
        """What is kept for the runs that are still to be begun.

        `left` is the time left in seconds, None if it is not limited. At most `SHARE` of the time
        is kept, for fewer runs if they take long, and for none if `FEWEST_SEEDS` of a config would
        take longer: runs that are shorter than the first one say nothing of it. Trials under way
        count as if they ended now, so that one that leads can be confirmed.
        """
        plan, fewest = self._plan, self._fewest
        if self._total is None:
            most = min(self._most, int(plan.trials * SHARE))
            most = min(most, self._room(most) * plan.confirm_seeds)  # the rest is searched with
        else:
            most, fewest = self._total - len(self._trials.again), 1
        if most < max(1, fewest):
            return Reserve(0)
        best = self._trials.best_so_far(plan.confirm_configs)
        if left is None or plan.seconds is None or not best:
            return Reserve(most)
        share = SHARE * plan.seconds / SLACK
        needs = {progress.config: self.seconds_of(progress) for progress in best}
        needs = {c: s for c, s in needs.items() if self._turns() * s <= min(share, left)}
        if self._total is None and best[0].config not in needs:
            return Reserve(0)
        for trials in range(most, fewest - 1, -1):
            order = self.order(list(needs), trials)
            seconds = makespan([needs[config] for config in order], self._trials.slots)
            if order and seconds <= share:
                return Reserve(trials, SLACK * seconds + GRACE_S)
        return Reserve(0)

    def _turns(self, begun: int = 0) -> int:
        return max(1, math.ceil((self._fewest - begun) / self._trials.slots))

    def _room(self, trials: int) -> int:
        return min(self._plan.confirm_configs, max(1, trials // max(1, self._fewest)))

    def order(self, configs: Sequence[Config], trials: int) -> list[Config]:
        """Configs of the next so many runs; all get `FEWEST_SEEDS` before one gets more."""
        begun = Counter(progress.config for progress in self._trials.again)
        configs = configs[: self._room(trials + begun.total())]
        order = [config for config in configs for _ in range(self._fewest)]
        order += [*configs] * (self._plan.confirm_seeds - self._fewest)
        left = list[Config]()
        for config in order:
            if begun[config] > 0:
                begun[config] -= 1
            else:
                left.append(config)
        return left[:trials]

    def most_rounds(self, first: Trial) -> int | None:
        """Those of the first run if its time was short; None: up to its own end."""
        whole = is_complete(first) or first.phase is Phase.LADDER
        limited = self._problem.pausable and self._plan.seconds is not None
        return len(first.rounds) if limited and not whole else None

    def seconds_of(self, first: Trial) -> float:
        if first.objective.returned:  # such a trial is trained to its end
            return max(first.seconds, sum(first.round_seconds))
        complete = is_complete(first) and first.phase is not Phase.LADDER
        usual = len(first.rounds) if complete else first.planned_rounds
        if (each := first.usual_round_seconds) is None:
            each = self._costs.round_seconds(first.config)
        return self._costs.fixed_seconds + (self.most_rounds(first) or usual) * each

    # once the search is over

    @property
    def begun(self) -> bool:
        return self._total is not None

    @property
    def full(self) -> bool:
        return self._total == len(self._trials.again)

    def begin(self, trials: int, before: int | None = None) -> None:
        """The search is over and has left a number of trials; a second call changes nothing.

        `before` are the further runs of an earlier end of the search, which has gone on since.
        """
        if self._total is None:
            before = len(self._trials.again) if before is None else before
            self._total = before + min(self._most, trials)

    def next(self, left: float | None = None) -> Trial | None:
        """The first run of the config to train again next, if that fits into the time left."""
        again = self._trials.again
        by_config = {one.config: one for one in self.to_confirm()}
        order = self.order(list(by_config), max(0, (self._total or 0) - len(again)))
        if left is not None:
            needs = {one: self.seconds_of(by_config[one]) + GRACE_S for one in set(order)}
            begun = Counter(one.config for one in again)
            enough = [one for one in order if self._turns(begun[one]) * needs[one] <= left]
            order = enough or [one for one in order if needs[one] <= left]
        return by_config[order[0]] if order else None
