"""Early stopping: when a trial ends since its validation loss does not improve any more."""

from __future__ import annotations

from lstm_sweep.search.progress import TrialSnapshot
from lstm_sweep.search.trial import Ended, Outcome


def stopped_early(one: TrialSnapshot, epochs: int) -> Ended | None:
    """How a trial ends that has not improved for so many epochs (0: never); None if it goes on."""
    done, patience = len(one.rounds), epochs * one.trial.rounds_per_epoch
    best = one.best_round or done
    if not patience or done - best < patience:
        return None
    return Ended(Outcome.COMPLETE, f"no better since epoch {one.trial.epoch_text(best)}")
