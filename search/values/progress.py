"""What is known of a trial: while it runs or waits, and when it has ended."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self, TypeVar

from lstm_sweep.search.values.trial import (
    Ended,
    Job,
    Outcome,
    Paused,
    Phase,
    Progressed,
    RoundDone,
    Slot,
    Trial,
)
from lstm_sweep.spaces.template.config import shown_label

#: a loss that is larger, or below the negative of this, counts as infinite: squares of more would
#: overflow, and a database keeps infinities as the largest and the lowest number that it knows
LARGEST = 1e100


def comparable(loss: float | None) -> float | None:
    """A loss as it takes part in comparisons: None for none, for NaN and for one beyond `LARGEST`.

    So neither infinity nor NaN is ever the best.
    """
    return loss if loss is not None and abs(loss) <= LARGEST else None


def shown_name(name: str) -> str:
    """The name of a hyperparameter for people."""
    return shown_label(name) if name.count(":") in (1, 2) else name


def round_seconds(rounds: Iterable[Mapping[str, float]]) -> list[float]:
    return [one["round_seconds"] for one in rounds if "round_seconds" in one]


#: of a trial that was read back from the store
NO_SLOT = Slot(0)


@dataclass(frozen=True)
class TrialProgress:
    """What is known of a trial while it runs, and when it has ended."""

    trial: Trial
    run_id: str = ""
    slot: Slot = NO_SLOT
    #: what a worker was given; None for a trial that was read back from the store
    job: Job | None = None
    #: metrics of each finished round, in order
    rounds: Sequence[dict[str, float]] = ()
    #: whether the last round still has to be logged
    unlogged: bool = False
    #: whether its config, or its template, trains no other round
    last: bool = False
    latest: Progressed | None = None
    ended: Ended | None = None
    #: when it began, in seconds of the driver's clock
    began: float = 0.0
    #: when it went on after it had waited; None if it has not
    resumed: float | None = None
    #: for which it had a slot, by the end of its last stretch on one
    seconds: float = 0.0
    #: why it waits for a slot; empty while it has one, and once it has ended
    paused: str = ""
    #: whether it only waits since another sweep needs its slot: the search is not told then
    preempted: bool = False
    #: whether it has waited
    waited: bool = False
    #: of its network; 0 if that is not known
    parameters: int = 0

    @cached_property
    def best_so_far(self) -> list[float]:
        """Lowest validation loss after each round, nats; infinite as long as there is none."""
        losses = (math.inf if loss is None else loss for loss in self.val_losses)
        return list(itertools.accumulate(losses, min))

    @cached_property
    def val_losses(self) -> list[float | None]:
        """Validation loss of each round, nats; None for one that has no finite loss."""
        return [comparable(one.get("val_loss")) for one in self.rounds]

    @cached_property
    def round_seconds(self) -> list[float]:
        return round_seconds(self.rounds)

    @cached_property
    def usual_round_seconds(self) -> float | None:
        """Median of the seconds of the rounds but the first, which includes tracing; or None."""
        later = self.round_seconds[1:]
        return statistics.median(later) if later else None

    @cached_property
    def best_round(self) -> int | None:
        """Number of the round with the lowest validation loss."""
        scored = [(x, number) for number, x in enumerate(self.val_losses, 1) if x is not None]
        return min(scored)[1] if scored else None

    @cached_property
    def best_loss(self) -> float | None:
        """The loss by the trial's objective, so far; finite, or None."""
        if self.trial.objective.returned:
            return comparable(self.ended.loss) if self.ended else None
        return self.rounds[self.best_round - 1]["val_loss"] if self.best_round else None

    @property
    def outcome(self) -> str:
        """An `Outcome`; empty if it has not ended."""
        return self.ended.outcome if self.ended else ""

    @property
    def reason(self) -> str:
        return self.ended.reason if self.ended else ""

    @property
    def rounds_done(self) -> int:
        return len(self.rounds)

    @property
    def epochs(self) -> float:
        """Epochs that were trained; a whole number if rounds are epochs."""
        return self.trial.epochs_after(self.rounds_done)

    @property
    def best_epoch(self) -> float | None:
        """Epochs after which its loss was lowest."""
        return self.trial.epochs_after(self.best_round) if self.best_round else None

    @property
    def is_open(self) -> bool:
        """Whether it runs, or goes on later."""
        return not self.ended

    @property
    def state(self) -> str:
        """Its outcome, or `running` or `paused` if it goes on."""
        return self.outcome or ("paused" if self.paused else "running")

    @property
    def failed(self) -> bool:
        """Whether it has ended without a result that counts; a rung of the ladder may diverge."""
        if self.ended is None or self.ended.outcome.ranks:
            return False
        return (self.trial.phase, self.ended.outcome) != (Phase.LADDER, Outcome.DIVERGED)

    @property
    def curve(self) -> list[tuple[float, float | None]]:
        """Epochs that were trained and validation loss after each round."""
        return [(self.trial.epochs_after(n), loss) for n, loss in enumerate(self.val_losses, 1)]

    @cached_property
    def hyperparameters(self) -> dict[str, int | float | str]:
        """The values of its config by their names for people."""
        return {shown_name(name): value for name, value in self.trial.config.to_dict().items()}

    @property
    def ranked_loss(self) -> float | None:
        """The loss that this trial competes with; None if it has none."""
        return self.best_loss if self.ended and self.ended.outcome.ranks else None

    def with_round(self, done: RoundDone) -> Self:
        """Note a round; the last one of all is to be logged together with the outcome.

        Rounds since its last checkpoint are reported again by a trial that had waited.
        """
        if done.number <= len(self.rounds):
            return replace(self, latest=None)
        unlogged = done.number >= self.trial.rounds
        rounds = (*self.rounds, done.metrics)
        last = unlogged or done.last
        return replace(self, latest=None, rounds=rounds, unlogged=unlogged, last=last)

    def with_end(self, ended: Ended, now: float) -> Self:
        seconds = self.seconds_by(now)
        return replace(self, ended=ended, seconds=seconds, paused="", preempted=False)

    def with_pause(self, paused: Paused, now: float) -> Self:
        return replace(
            self, paused=paused.reason, preempted=paused.preempted, waited=True,
            seconds=self.seconds_by(now), latest=None,
        )  # fmt: skip

    def with_slot(self, slot: Slot, job: Job, now: float) -> Self:
        """It goes on after it had waited."""
        return replace(self, slot=slot, job=job, paused="", preempted=False, resumed=now)

    @property
    def stretch_began(self) -> float:
        return self.began if self.resumed is None else self.resumed

    def seconds_by(self, now: float) -> float:
        """For how long it had a slot by now; where it waits, by the time it was paused."""
        return self.seconds if self.paused else self.seconds + now - self.stretch_began


AnyTrial = TypeVar("AnyTrial", bound=TrialProgress)


def ranked(trials: Iterable[AnyTrial], *, of_running: bool = False) -> list[AnyTrial]:
    """Trials with a loss and an outcome that ranks, best first.

    With `of_running` also those that have not ended, by their best rounds.
    """
    found = [
        one
        for one in trials
        if one.ranked_loss is not None
        or (of_running and not one.ended and one.best_loss is not None)
    ]
    return sorted(found, key=lambda one: (one.best_loss, not one.ended, one.trial.number))
