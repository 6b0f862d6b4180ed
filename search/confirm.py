"""The best configs trained again: which, how often, and what their further seeds say."""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.config import Config
from search.cost import Costs
from search.plan import Plan
from search.trial import Course, Outcome, Phase

#: share of a budget that is kept for confirming the best configs, at most
SHARE = 0.25
#: further seeds that a config gets before another is confirmed too, if there is room for few
FEWEST_SEEDS = 2

#: differences that chance makes at least this often are called none
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Confirmed:
    """A config that was trained again with further seeds.

    The first run is left out of mean and spread: it was chosen for its low loss, so it would make
    the config look better than it is.
    """

    first: Course
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

    It reads `courses`, all trials of a sweep by number, which grow while the sweep goes on.
    """

    def __init__(self, plan: Plan, courses: Mapping[int, Course], costs: Costs, slots: int) -> None:
        self._plan, self._courses, self._costs, self._slots = plan, courses, costs, slots
        #: trials that are trained again in all; None before the search is over
        self._total: int | None = None

    # which

    def ranked(self) -> list[Course]:
        """First runs of configs that have ended with a loss, the best first."""
        first = [c for c in self._courses.values() if c.trial.phase is not Phase.CONFIRM]
        with_loss = [c for c in first if c.ranked_loss is not None]
        return sorted(with_loss, key=lambda course: (course.ranked_loss, course.trial.number))

    def leaders(self) -> list[Course]:
        """The best configs that have ended, the best first: those that are confirmed."""
        return self.ranked()[: self._plan.confirm_configs]

    def of(self, config: Config) -> list[Course]:
        """Trials that were begun to confirm a config."""
        return [course for course in self._again() if course.trial.config == config]

    def _again(self) -> list[Course]:
        return [c for c in self._courses.values() if c.trial.phase is Phase.CONFIRM]

    def results(self) -> list[Confirmed]:
        """The configs that have losses for further seeds, the best mean first."""
        found = []
        for course in self.ranked():
            again = self.of(course.trial.config)
            losses = tuple(c.ranked_loss for c in again if c.ranked_loss is not None)
            if losses:
                found.append(Confirmed(course, losses))
        return compare(found)

    # how many

    def kept(self, left: float | None) -> int:
        """Trials that are kept for confirming; 0 if there is room for less than one config.

        `left` is the time left in seconds, None if it is not limited.
        """
        plan = self._plan
        kept = min(plan.confirm_configs * plan.confirm_seeds, int(plan.trials * SHARE))
        if left is not None and plan.seconds is not None and self.leaders():
            share = SHARE * plan.seconds
            while kept and self.seconds(kept) > share:
                kept -= 1
        return kept if kept >= min(FEWEST_SEEDS, plan.confirm_seeds) else 0

    def seconds(self, trials: int) -> float:
        """Seconds that a number of confirmations take, by what the leaders took."""
        each = max((self.seconds_of(course) for course in self.leaders()), default=0.0)
        return math.ceil(trials / self._slots) * each

    def seconds_of(self, course: Course) -> float:
        """Seconds of another run of a config, which is not pruned."""
        pruned = course.ended and course.ended.outcome is Outcome.PRUNED
        cut = pruned or course.trial.phase is Phase.LADDER
        epochs = course.trial.config.epochs if cut else len(course.epochs)
        return self._costs.trial_seconds(course.trial.config, epochs)

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
            self._total = len(self._again()) + min(most, trials)

    def next(self) -> Course | None:
        """The config to train again next: of those chosen, the one with the fewest seeds so far."""
        total, seeds = self._total or 0, self._plan.confirm_seeds
        again = self._again()
        if len(again) >= total:
            return None
        room = min(self._plan.confirm_configs, max(1, total // min(FEWEST_SEEDS, seeds)))
        begun = {course.trial.config for course in again}
        chosen = [c for c in self.ranked() if c.trial.config in begun]
        new = [c for c in self.leaders() if c.trial.config not in begun]
        chosen += new[: room - len(chosen)]
        fewest = min(chosen, key=lambda c: len(self.of(c.trial.config)), default=None)
        full = fewest and len(self.of(fewest.trial.config)) >= seeds
        return None if full else fewest
