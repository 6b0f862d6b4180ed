"""What further seeds of the best configs say."""

from __future__ import annotations

import math
import statistics
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lstm_sweep.models.config import Config
from lstm_sweep.search.values.progress import TrialProgress
from lstm_sweep.search.values.trial import Outcome, Phase

#: differences that chance makes at least this often are called none
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Confirmed:
    """A config that was trained again with further seeds.

    The first run is left out of mean and spread: it was chosen for its low loss, so it would make
    the config look better than it is.
    """

    first: TrialProgress
    #: best validation loss for each further seed that has one, nats
    losses: tuple[float, ...]
    #: further seeds that have none, by how they have ended
    failed: Mapping[Outcome, int] = field(default_factory=dict)
    #: whether the best trial has this config
    is_best: bool = False
    #: by how much the mean is above that of the best trial's config, nats, and the probability of
    #: so large a difference by chance; None if there are too few seeds, and for that config itself
    above: float | None = None
    p: float | None = None

    @property
    def trial(self) -> str:
        """ID of the first run."""
        return self.first.trial.id

    @property
    def first_loss(self) -> float:
        """Loss of the first run, nats."""
        return self.first.ranked_loss or 0.0

    @property
    def mean(self) -> float | None:
        """Mean over the further seeds, nats; None if none has a loss."""
        return statistics.fmean(self.losses) if self.losses else None

    @property
    def spread(self) -> float:
        """Standard deviation over the further seeds, nats; 0 for fewer than two."""
        return statistics.stdev(self.losses) if len(self.losses) > 1 else 0.0

    @property
    def seeds(self) -> int:
        """How many further seeds have ended."""
        return len(self.losses) + sum(self.failed.values())

    @property
    def failures(self) -> str:
        """Seeds without a loss for people, as `2 diverged`; empty if there are none."""
        return ", ".join(f"{count} {_word(outcome)}" for outcome, count in self.failed.items())

    @property
    def short(self) -> str:
        """Mean, standard deviation and failures over the further seeds."""
        found = "no loss" if self.mean is None else f"{self.mean:.4f}"
        found += f" \u00b1 {self.spread:.4f}" if len(self.losses) > 1 else ""
        return f"{found}, {self.failures}" if self.failures else found

    @property
    def verdict(self) -> str:
        """How it does against the best trial's config; empty if that cannot be told."""
        if self.p is None or self.above is None:
            return ""
        if self.p >= SIGNIFICANCE:
            return "as good"
        return "worse" if self.above > 0 else "better over further seeds"

    def __str__(self) -> str:
        of = f"{len(self.losses)} of {self.seeds}" if self.failed else f"{self.seeds}"
        seeds = f"{of} further seed{'s' if self.seeds > 1 else ''}"
        spread = f" +- {self.spread:.4f}" if len(self.losses) > 1 else ""
        said = f"no loss of {seeds.removeprefix('0 of ')}"
        if self.mean is not None:
            said = f"{self.mean:.4f}{spread} over {seeds}"
        text = f"{self.trial}: {said}{'; ' + self.failures if self.failed else ''}"
        text += f", first run {self.first_loss:.4f}"
        return f"{text}; {self.verdict}: p = {self.p:.2g}" if self.verdict else text

    def to_dict(self) -> dict[str, Any]:
        """The config as `launch --json` and the evidence of a sweep have it."""
        return {
            "trial": self.trial,
            "mean": self.mean,
            "spread": self.spread,
            "losses": list(self.losses),
            "failed": {str(outcome): count for outcome, count in self.failed.items()},
            "verdict": "the best" if self.is_best else self.verdict or None,
            "p": self.p,
        }


def _word(outcome: Outcome) -> str:
    return "without a loss" if outcome is Outcome.COMPLETE else str(outcome).replace("_", " ")


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


def is_complete(progress: TrialProgress) -> bool:
    """Whether a trial has come to its own end."""
    return progress.ended is not None and progress.ended.outcome is Outcome.COMPLETE


def is_whole(one: TrialProgress) -> bool:
    """Whether a trial has ended and took for its rounds, and beyond them, what others take.

    One that hung or failed took longer, and one that went on from a checkpoint began later. A
    template's has no checkpoint, and is whole once it has returned.
    """
    if one.trial.objective.returned:
        return one.ended is not None and one.ended.loss is not None
    return is_complete(one) and one.trial.attempt == 1 and not one.waited


def is_further_seed(again: TrialProgress, first: TrialProgress) -> bool:
    """Whether the lowest loss of a further run can be compared with that of the first.

    One that was cut short can if it had as many rounds as the first run needed for its lowest loss;
    with fewer its own lowest loss would be too high.
    """
    most = again.trial.most_rounds
    if is_complete(again) and (most is None or len(again.rounds) < most):
        return True
    needed = None if first.trial.objective.returned else first.best_round
    return bool(again.ended and needed and len(again.rounds) >= needed)


def best_config(trials: Iterable[TrialProgress]) -> Config | None:
    """The config of the trial with the lowest loss; None if none has one."""
    ranked = (one for one in trials if one.ranked_loss is not None)
    best = min(ranked, key=lambda one: (one.ranked_loss, one.trial.number), default=None)
    return None if best is None else best.trial.config


def confirmed(trials: Mapping[int, TrialProgress], best: Config | None) -> list[Confirmed]:
    """What further seeds say of the configs of some trials that were trained again.

    `best` is the config of the best trial of their sweep. A run that goes on later has not ended.
    """
    ended = [one for one in trials.values() if one.ended and not one.ended.unfinished]
    further = [one for one in ended if one.trial.phase is Phase.CONFIRM]
    found = []
    for first in _first_runs([one for one in ended if one.ranked_loss is not None]):
        config = first.trial.config
        losses, failed = list[float](), Counter[Outcome]()
        for again in (one for one in further if one.trial.config == config):
            loss = again.ranked_loss if is_further_seed(again, first) else None
            if loss is not None:
                losses.append(loss)
            elif again.ended:
                failed[again.ended.outcome] += 1
        if losses or failed:
            found.append(Confirmed(first, tuple(losses), dict(failed), is_best=config == best))
    return compare(found)


def _first_runs(ended: Sequence[TrialProgress]) -> list[TrialProgress]:
    """The first run of each config: of several the best, but none of a number of steps only.

    The search may try the config with which a ladder took a few steps.
    """
    by_config: dict[Config, TrialProgress] = {}
    for one in sorted(ended, key=_order):
        if one.trial.phase is not Phase.CONFIRM:
            by_config.setdefault(one.trial.config, one)
    return list(by_config.values())


def _order(one: TrialProgress) -> tuple[bool, float, int]:
    assert one.ranked_loss is not None
    return one.trial.steps is not None, one.ranked_loss, one.trial.number
