"""Patience: how many trials of a search have brought nothing."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable

from lstm_sweep.search.progress import TrialSnapshot
from lstm_sweep.search.trial import Ended, Outcome


def trials_without_gain(searched: Iterable[TrialSnapshot]) -> int:
    """Most trials in a row of the search, ended or paused, in which the best loss stayed.

    It has to improve by more than noise. What trials gain that still run once patience is lost does
    not bring it back, also to a sweep that is resumed then.
    """
    since, most, best = 0, 0, math.inf
    shown = [one for one in searched if one.paused or (one.ended and _counts(one.ended))]
    for one in sorted(shown, key=lambda one: one.began + one.seconds):
        loss = one.best_loss if one.paused else one.ranked_loss
        if loss is not None and loss < best - noise(one):
            since, best = 0, loss
        else:
            since += 1
        most = max(most, since)
    return most


def _counts(ended: Ended) -> bool:
    """Whether a trial says something of its config, and was not cut off as the search was over."""
    outcome = ended.outcome
    return not (outcome in (Outcome.OUT_OF_TIME, Outcome.STOPPED) or outcome.is_accident)


def noise(one: TrialSnapshot) -> float:
    """How much a trial's validation loss moves from round to round once it has settled, nats.

    The median absolute step over the second half of its rounds.
    """
    losses = [loss for loss in one.val_losses if loss is not None]
    later = losses[len(losses) // 2 :]
    steps = [abs(a - b) for a, b in itertools.pairwise(later)]
    return statistics.median(steps) if steps else 0.0
