"""Why a search stops, and when a trial stands still."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Sequence

from lstm_sweep.search.values.stop_reason import Stop, StopReason
from lstm_sweep.search.values.trial import Ended, Outcome, Trial

#: nothing is begun any more, since none of many trials has a loss
NO_RESULT = Stop(StopReason.TRIALS, "no trial has a result")
#: seconds, and share of the time, that count as none
NOTHING_S, NOTHING = 1.0, 0.02


def all_trials(count: int) -> Stop:
    """A sweep has ended with its last trial."""
    text = f"all {count:,} trials are done" if count > 1 else "the only trial is done"
    return Stop(StopReason.TRIALS, text)


def out_of_time(seconds: float, left: float = 0.0) -> Stop:
    """A sweep of so many seconds has ended, with so many left."""
    minutes = round(seconds / 60, 2)
    time, verb = (f"the {minutes:g} minutes", "are") if minutes != 1 else ("the minute", "is")
    if left <= max(NOTHING_S, NOTHING * seconds):
        return Stop(StopReason.MINUTES, f"{time} {verb} over")
    return Stop(StopReason.MINUTES, f"what is left of {time} is too short for another trial")


def out_of_patience(trials: int) -> Stop:
    """The last trials of a sweep, so many, brought nothing better."""
    last = f"the last {trials:,} trials were" if trials > 1 else "the last trial was"
    return Stop(StopReason.PATIENCE, f"{last} no better than those before")


def space_is_tried(count: int, limits: Sequence[str] = ()) -> Stop:
    """A sweep has tried all configs of its space that may be tried.

    `limits` are IDs of trials that ran out of memory, so that those that need as much may not be.
    """
    text = f"all {count:,} configs of the space are tried" if count else "no config may be tried"
    if limits:
        text += f", but for those that need as much memory as {', '.join(limits)}"
    return Stop(StopReason.SPACE, text)


def stopped_early(one: Trial, epochs: int) -> Ended | None:
    """How a trial ends that has not improved for so many epochs (0: never); None if it goes on."""
    done, patience = len(one.rounds), epochs * one.rounds_per_epoch
    best = one.best_round or done
    if not patience or done - best < patience:
        return None
    return Ended(Outcome.COMPLETE, f"no better since epoch {one.epoch_text(best)}")


def trials_without_gain(searched: Iterable[Trial]) -> int:
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


def noise(one: Trial) -> float:
    """How much a trial's validation loss moves from round to round once it has settled, nats.

    The median absolute step over the second half of its rounds.
    """
    losses = [loss for loss in one.val_losses if loss is not None]
    later = losses[len(losses) // 2 :]
    steps = [abs(a - b) for a, b in itertools.pairwise(later)]
    return statistics.median(steps) if steps else 0.0
