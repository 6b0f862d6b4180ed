"""The best configs trained again: which, how often, and what their further seeds say."""

from __future__ import annotations

import heapq
import math
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lstm_sweep.models.config import Config
from lstm_sweep.search.policy.cost import Costs
from lstm_sweep.search.policy.plan import Plan
from lstm_sweep.search.trial import Outcome, Phase, TrialSnapshot

#: share of a budget that is kept for confirming the best configs, at most
SHARE = 0.25
#: further seeds that a config gets before another is confirmed too, if there is room for few
FEWEST_SEEDS = 2

#: how much longer than predicted a further run may take, and seconds until search trials that make
#: room for it have ended
SLACK, GRACE_S = 1.15, 2.0

#: differences that chance makes at least this often are called none
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Confirmed:
    """A config that was trained again with further seeds.

    The first run is left out of mean and spread: it was chosen for its low loss, so it would make
    the config look better than it is.
    """

    first: TrialSnapshot
    #: best validation loss for each further seed, nats
    losses: tuple[float, ...]
    #: probability of so large a difference to the best by chance; None for the best itself, or if
    #: there are too few seeds
    p: float | None = None

    @property
    def mean(self) -> float:
        """Mean over the further seeds, nats."""
        return statistics.fmean(self.losses)

    @property
    def spread(self) -> float:
        """Standard deviation over the further seeds, nats; 0 for one seed."""
        return statistics.stdev(self.losses) if len(self.losses) > 1 else 0.0

    def __str__(self) -> str:
        seeds = f"{len(self.losses)} further seed{'s' if len(self.losses) > 1 else ''}"
        text = f"{self.first.trial.id}: {self.mean:.4f} +- {self.spread:.4f} over {seeds}"
        text += f", first run {self.first.ranked_loss or 0:.4f}"
        if self.p is None:
            return text
        told = "worse" if self.p < SIGNIFICANCE else "cannot be told apart from the best"
        return f"{text}; {told} (p = {self.p:.2g})"

    def to_dict(self) -> dict[str, Any]:
        """The config as `launch --json` prints it."""
        return {
            "trial": self.first.trial.id,
            "mean": self.mean,
            "spread": self.spread,
            "losses": list(self.losses),
            "p": self.p,
        }


@dataclass(frozen=True)
class Reserve:
    """What is kept of the budget for confirming."""

    trials: int
    #: of the end of the time; 0 if that is not limited, or nothing is known yet
    seconds: float = 0.0


def makespan(seconds: Sequence[float], slots: int) -> float:
    """Seconds until trials have ended that begin in this order, each on the first free slot."""
    free = [0.0] * slots
    for each in seconds:
        heapq.heappush(free, heapq.heappop(free) + each)
    return max(free)


def compare(found: Sequence[Confirmed]) -> list[Confirmed]:
    """Order by mean and compare each with the first by Welch's t test.

    Where the test has no answer, as for losses that are all the same, chance explains everything.
    """
    from scipy.stats import ttest_ind

    ordered = sorted(found, key=lambda confirmed: confirmed.mean)
    compared = ordered[:1]
    for other in ordered[1:]:
        p = None
        if min(len(other.losses), len(ordered[0].losses)) > 1:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of losses that are nearly the same
                p = float(ttest_ind(other.losses, ordered[0].losses, equal_var=False).pvalue)
            p = p if math.isfinite(p) else 1.0
        compared.append(Confirmed(other.first, other.losses, p))
    return compared


class Confirmation:
    """Which configs are trained again, and how much of the budget that may take.

    It reads `trials`, all of a sweep by number, which grow while the sweep goes on.
    """

    def __init__(
        self, plan: Plan, trials: Mapping[int, TrialSnapshot], costs: Costs, slots: int
    ) -> None:
        self._plan, self._trials, self._costs, self._slots = plan, trials, costs, slots
        #: trials that are trained again in all; None before the search is over
        self._total: int | None = None
        #: those of an earlier end of the search, which has gone on since
        self._earlier: frozenset[int] = frozenset()

    # which

    def ranked(self) -> list[TrialSnapshot]:
        """First runs of configs that have ended with a loss, the best first."""
        first = [c for c in self._trials.values() if c.trial.phase is not Phase.CONFIRM]
        with_loss = [c for c in first if c.ranked_loss is not None]
        return sorted(with_loss, key=lambda progress: (progress.ranked_loss, progress.trial.number))

    def leaders(self) -> list[TrialSnapshot]:
        """The best configs that have ended, the best first: those that are confirmed."""
        return self.ranked()[: self._plan.confirm_configs]

    def of(self, config: Config) -> list[TrialSnapshot]:
        """Trials that were begun to confirm a config."""
        return [progress for progress in self._again() if progress.trial.config == config]

    def _again(self) -> list[TrialSnapshot]:
        return [c for c in self._trials.values() if c.trial.phase is Phase.CONFIRM]

    def results(self) -> list[Confirmed]:
        """The configs that have losses for further seeds, the best mean first.

        Runs that were cut short count as far as `_counts` says.
        """
        found = []
        for progress in self.ranked():
            ended = [c for c in self.of(progress.trial.config) if _counts(c, progress)]
            losses = tuple(c.ranked_loss for c in ended if c.ranked_loss is not None)
            if losses:
                found.append(Confirmed(progress, losses))
        return compare(found)

    def omitted(self) -> str:
        """Why the best config was not trained again, if there was too little time; else nothing."""
        plan, best = self._plan, next(iter(self.ranked()), None)
        wanted = min(plan.confirm_configs * plan.confirm_seeds, int(plan.trials * SHARE))
        if plan.seconds is None or best is None or wanted < max(1, self._fewest):
            return ""
        if any(_counts(progress, best) for progress in self.of(best.trial.config)):
            return ""
        needs, kept = self._turns() * self.seconds_of(best), SHARE * plan.seconds
        few = (
            f"at most {kept:.0f} s are kept for that" if SLACK * needs > kept else "none were left"
        )
        seeds = f"{self._fewest} seed{'s' if self._fewest > 1 else ''}"
        return f"{best.trial.id} was not trained again: {seeds} take about {needs:.0f} s, and {few}"

    # how many

    @property
    def _fewest(self) -> int:
        return min(FEWEST_SEEDS, self._plan.confirm_seeds)

    def reserve(self, left: float | None) -> Reserve:
        """What is kept for the runs that are still to be begun.

        `left` is the time left in seconds, None if it is not limited. At most `SHARE` of the time
        is kept: for fewer runs if they take long, for none if that is too short for `FEWEST_SEEDS`.
        Trials under way count as if they ended now, so that one that leads can be confirmed.
        """
        plan = self._plan
        most = plan.confirm_configs * plan.confirm_seeds
        if self._total is None:
            most = min(most, int(plan.trials * SHARE))
            most = min(most, self._room(most) * plan.confirm_seeds)  # the rest is searched with
            fewest = self._fewest
        else:
            most, fewest = self._total - len(self._again()), 1
        if most < max(1, fewest):
            return Reserve(0)
        so_far = self._ranked_so_far()
        if left is None or plan.seconds is None or not so_far:
            return Reserve(most)
        best = so_far[: plan.confirm_configs]
        share = SHARE * plan.seconds / SLACK
        needs = {progress.trial.config: self.seconds_of(progress) for progress in best}
        needs = {c: s for c, s in needs.items() if self._turns() * s <= min(share, left)}
        for trials in range(most, fewest - 1, -1):
            order = self._order(list(needs), trials)
            seconds = makespan([needs[config] for config in order], self._slots)
            if order and seconds <= share:
                return Reserve(trials, SLACK * seconds + GRACE_S)
        return Reserve(0)

    def _turns(self, begun: int = 0) -> int:
        """How many runs on one slot follow each other until a config has `FEWEST_SEEDS`."""
        return max(1, math.ceil((self._fewest - begun) / self._slots))

    def _ranked_so_far(self) -> list[TrialSnapshot]:
        """First runs by their loss so far, the best first, those under way too."""
        found = []
        for progress in self._trials.values():
            loss = progress.ranked_loss if progress.ended else progress.best_loss
            if loss is not None and progress.trial.phase is not Phase.CONFIRM:
                found.append((loss, progress.trial.number, progress))
        return [progress for *_, progress in sorted(found, key=lambda one: one[:2])]

    def _order(self, configs: list[Config], trials: int) -> list[Config]:
        """Configs of the next so many runs, in the order in which they are begun."""
        configs = configs[: self._room(trials)]
        counts = {config: len(self.of(config)) for config in configs}
        order: list[Config] = []
        while len(order) < trials and (config := self._pick(counts)):
            order.append(config)
            counts[config] += 1
        return order

    def _pick(self, counts: Mapping[Config, int]) -> Config | None:
        """The config to train next, by the number of further seeds of each, the best first.

        All get `FEWEST_SEEDS` before one gets more, the best first, since fewer say little.
        """
        open_ = {c: n for c, n in counts.items() if n < self._plan.confirm_seeds}
        few = (config for config, count in open_.items() if count < self._fewest)
        return next(few, None) or min(open_, key=lambda config: open_[config], default=None)

    def _room(self, trials: int) -> int:
        """How many configs may be confirmed with so many runs."""
        return min(self._plan.confirm_configs, max(1, trials // max(1, self._fewest)))

    def seconds_of(self, progress: TrialSnapshot) -> float:
        """Seconds of another run of a config, which is not cut short."""
        trial = progress.trial
        if trial.objective.returned:  # such a trial is trained to its end
            return max(progress.seconds, sum(progress.round_seconds))
        own = progress.round_seconds[1:]  # the first includes tracing
        each = statistics.median(own) if own else self._costs.round_seconds(trial.config)
        whole = _is_complete(progress) and trial.phase is not Phase.LADDER
        rounds = len(progress.rounds) if whole else trial.rounds
        predicted = self._costs.fixed_seconds + rounds * each
        return max(predicted, progress.seconds) if whole else predicted

    # once the search is over

    @property
    def begun(self) -> bool:
        """Whether the search is over."""
        return self._total is not None

    @property
    def full(self) -> bool:
        """Whether all trials that may be trained again are begun."""
        return self._total == len(self._again())

    def begin(self, trials: int) -> None:
        """The search is over and has left a number of trials; a second call changes nothing."""
        if self._total is None:
            most = self._plan.confirm_configs * self._plan.confirm_seeds
            self._earlier = frozenset(progress.trial.number for progress in self._again())
            self._total = len(self._earlier) + min(most, trials)

    def next(self, left: float | None = None) -> TrialSnapshot | None:
        """The config to train again next, if a run of it fits into the time that is left.

        A config that cannot get `FEWEST_SEEDS` gives way to another one that can.
        """
        total, again = self._total or 0, self._again()
        if len(again) >= total:
            return None
        now = [progress for progress in again if progress.trial.number not in self._earlier]
        begun = {progress.trial.config for progress in now}
        chosen = [c for c in self.ranked() if c.trial.config in begun]
        new = [c for c in self.leaders() if c.trial.config not in begun]
        chosen += new[: max(0, self._room(total - len(self._earlier)) - len(chosen))]
        by_config = {progress.trial.config: progress for progress in chosen}
        counts = {config: len(self.of(config)) for config in by_config}
        if left is not None:
            needs = {config: self.seconds_of(progress) for config, progress in by_config.items()}
            enough = {c: n for c, n in counts.items() if self._turns(n) * needs[c] <= left}
            counts = enough or {c: n for c, n in counts.items() if needs[c] <= left}
        config = self._pick(counts)
        return by_config[config] if config else None


def _is_complete(progress: TrialSnapshot) -> bool:
    return progress.ended is not None and progress.ended.outcome is Outcome.COMPLETE


def _counts(again: TrialSnapshot, first: TrialSnapshot) -> bool:
    """Whether a further run says how good the config of a first run is.

    One that the deadline has cut short does if it had as many rounds as the first run needed for
    its lowest loss; with fewer its own lowest loss would be too high.
    """
    if _is_complete(again):
        return True
    needed = None if first.trial.objective.returned else first.best_round
    return bool(again.ended and needed and len(again.rounds) >= needed)
