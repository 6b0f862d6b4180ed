"""What further seeds of the best configs say."""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lstm_sweep.models.config import Config
from lstm_sweep.search.progress import TrialSnapshot
from lstm_sweep.search.trial import Outcome, Phase

#: differences that chance makes at least this often are called none
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Confirmed:
    """A config that was trained again with further seeds.

    The first run is left out of mean and spread: it was chosen for its low loss, so it would make
    the config look better than it is.
    """

    first: TrialSnapshot
    #: best validation loss for each further seed, nats; those by `at` if it is given
    losses: tuple[float, ...]
    #: the round at which the runs are compared; None: by their lowest losses
    at: int | None = None
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

    @property
    def first_loss(self) -> float:
        """Loss of the first run that the others are compared with, nats."""
        if self.at is not None:
            return self.first.best_so_far[self.at - 1]
        return self.first.ranked_loss or 0.0

    @property
    def epoch(self) -> float | None:
        """Epochs after which the runs are compared; None: by their lowest losses."""
        return None if self.at is None else self.first.trial.epochs_after(self.at)

    def __str__(self) -> str:
        seeds = f"{len(self.losses)} further seed{'s' if len(self.losses) > 1 else ''}"
        spread = f" +- {self.spread:.4f}" if len(self.losses) > 1 else ""
        text = f"{self.first.trial.id}: {self.mean:.4f}{spread} over {seeds}"
        when = "" if self.at is None else f" at epoch {self.first.trial.epoch_text(self.at)}"
        text += f"{when}, first run {self.first_loss:.4f}"
        if self.p is None:
            return text
        told = "worse" if self.p < SIGNIFICANCE else "cannot be told apart from the best"
        return f"{text}; {told} (p = {self.p:.2g})"

    def to_dict(self) -> dict[str, Any]:
        """The config as the evidence of a sweep has it."""
        return {
            "trial": self.first.trial.id,
            "mean": self.mean,
            "spread": self.spread,
            "losses": list(self.losses),
            "epoch": self.epoch,
            "p": self.p,
        }


def compare(found: Sequence[Confirmed]) -> list[Confirmed]:
    """Order by mean and compare each with the first by Welch's t test.

    Where the test has no answer, as for losses that are all the same, chance explains everything.
    Runs that were cut short are compared with no other config.
    """
    from scipy.stats import ttest_ind

    ordered = sorted(found, key=lambda confirmed: confirmed.mean)
    compared = ordered[:1]
    for other in ordered[1:]:
        p = None
        whole = other.at is None and ordered[0].at is None
        if whole and min(len(other.losses), len(ordered[0].losses)) > 1:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of losses that are nearly the same
                p = float(ttest_ind(other.losses, ordered[0].losses, equal_var=False).pvalue)
            p = p if math.isfinite(p) else 1.0
        compared.append(replace(other, p=p))
    return compared


def is_complete(progress: TrialSnapshot) -> bool:
    """Whether a trial has come to its own end."""
    return progress.ended is not None and progress.ended.outcome is Outcome.COMPLETE


def is_whole(one: TrialSnapshot) -> bool:
    """Whether a trial has ended and took for its rounds, and beyond them, what others take.

    One that hung or failed took longer, and one that went on from a checkpoint began later. A
    template's has no checkpoint, and is whole once it has returned.
    """
    if one.trial.objective.returned:
        return one.ended is not None and one.ended.loss is not None
    return is_complete(one) and one.trial.attempt == 1 and not one.waited


def is_further_seed(again: TrialSnapshot, first: TrialSnapshot) -> bool:
    """Whether the lowest loss of a further run can be compared with that of the first.

    One that was cut short can if it had as many rounds as the first run needed for its lowest loss;
    with fewer its own lowest loss would be too high.
    """
    most = again.trial.most_rounds
    if is_complete(again) and (most is None or len(again.rounds) < most):
        return True
    needed = None if first.trial.objective.returned else first.best_round
    return bool(again.ended and needed and len(again.rounds) >= needed)


def confirmed(trials: Mapping[int, TrialSnapshot]) -> list[Confirmed]:
    """The configs of a sweep's trials that have losses for further seeds, the best mean first.

    Further runs are compared with the first by their lowest losses. If none had rounds enough for
    that, all are compared as they were at the same round, without those that had less than half as
    many rounds as others.
    """
    ended = [one for one in trials.values() if one.ranked_loss is not None]
    further = [one for one in ended if one.trial.phase is Phase.CONFIRM]
    found = []
    for first in _first_runs(ended):
        again = [one for one in further if one.trial.config == first.trial.config]
        whole = [one.ranked_loss for one in again if is_further_seed(one, first)]
        if whole:
            found.append(Confirmed(first, tuple(loss for loss in whole if loss is not None)))
        elif at := _common_round(again):
            losses = (one.best_so_far[at - 1] for one in again if len(one.rounds) >= at)
            found.append(Confirmed(first, tuple(losses), at))
    return compare(found)


def _first_runs(ended: Sequence[TrialSnapshot]) -> list[TrialSnapshot]:
    """The first run of each config: of several the best, but none of a number of steps only.

    The search may try the config with which a ladder took a few steps.
    """
    by_config: dict[Config, TrialSnapshot] = {}
    for one in sorted(ended, key=_order):
        if one.trial.phase is not Phase.CONFIRM:
            by_config.setdefault(one.trial.config, one)
    return list(by_config.values())


def _order(one: TrialSnapshot) -> tuple[bool, float, int]:
    assert one.ranked_loss is not None
    return one.trial.steps is not None, one.ranked_loss, one.trial.number


def _common_round(again: Sequence[TrialSnapshot]) -> int:
    """The round at which runs are compared that were cut short; 0 if there is none."""
    if any(one.trial.objective.returned for one in again):
        return 0
    most = max((len(one.rounds) for one in again), default=0)
    return min((len(one.rounds) for one in again if 2 * len(one.rounds) >= most), default=0)
