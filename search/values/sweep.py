"""`Sweep`: what is known of a sweep, be it driven or read back from its store."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from lstm_sweep.search.values.trial import Outcome, Phase, Trial, ranked


class StopReason(StrEnum):
    """What has ended a sweep."""

    #: as many trials as were asked for are begun
    TRIALS = "trials"
    #: the time is over, or too short for what would come next
    MINUTES = "minutes"
    #: nothing got better for as many trials as were asked for
    PATIENCE = "patience"
    #: all configs of the space that may be tried are begun
    SPACE = "space"
    #: trials fail one after the other
    FAILURES = "failures"
    #: this machine has no room for files
    NO_ROOM = "no_room"
    #: an error of the program, or of what it depends on
    FAILED = "failed"
    #: Ctrl-C, SIGTERM, or a terminal that has closed
    INTERRUPTED = "interrupted"
    #: `stop`
    ASKED = "asked"
    #: `pause`
    PAUSED = "paused"
    #: the program that drove the sweep was killed
    DRIVER_DIED = "driver_died"


class SweepStatus(StrEnum):
    """How a sweep has ended; trials under way go on later in all but a finished one."""

    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    PAUSED = "paused"
    STOPPED = "stopped"
    FAILED = "failed"

    def run_status(self, *, has_result: bool) -> str:
        if self is SweepStatus.FAILED:
            return "FAILED"
        return "FINISHED" if self is SweepStatus.FINISHED or has_result else "KILLED"


#: how a sweep has ended that was not finished, by why
STATUSES = {
    StopReason.INTERRUPTED: SweepStatus.INTERRUPTED,
    StopReason.ASKED: SweepStatus.STOPPED,
    StopReason.PAUSED: SweepStatus.PAUSED,
    StopReason.DRIVER_DIED: SweepStatus.STOPPED,
    StopReason.FAILURES: SweepStatus.FAILED,
    StopReason.NO_ROOM: SweepStatus.FAILED,
    StopReason.FAILED: SweepStatus.FAILED,
}


@dataclass(frozen=True)
class Stop:
    """Why a sweep has ended."""

    reason: StopReason
    #: the same for people; nothing reads it
    text: str


#: a sweep that is done
DONE = Stop(StopReason.TRIALS, "the budget is spent")


#: differences that chance makes at least this often are called none
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Confirmed:
    """A config that was trained again with further seeds.

    The first run is left out of mean and spread: it was chosen for its low loss, so it would make
    the config look better than it is.
    """

    #: ID of the first run, and its loss in nats
    trial: str
    first_loss: float
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
    def mean(self) -> float | None:
        """Mean over the further seeds, nats; None if none has a loss."""
        return statistics.fmean(self.losses) if self.losses else None

    @property
    def spread(self) -> float:
        """Standard deviation over the further seeds, nats; 0 for fewer than two."""
        return statistics.stdev(self.losses) if len(self.losses) > 1 else 0.0

    @property
    def seeds(self) -> int:
        return len(self.losses) + sum(self.failed.values())

    @property
    def failures(self) -> str:
        """Seeds without a loss for people, as `2 diverged`; empty if there are none."""
        return ", ".join(f"{count} {_word(outcome)}" for outcome, count in self.failed.items())

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

    def document(self) -> dict[str, Any]:
        return self.to_dict() | {"first_loss": self.first_loss, "above": self.above}


def _word(outcome: Outcome) -> str:
    return "without a loss" if outcome is Outcome.COMPLETE else str(outcome).replace("_", " ")


#: what the time of slots is used for, in the order in which it is shown, and what people are told
SHARES = {
    "ladder": "ladder",
    "best": "the best trial",
    "cut_short": "trials cut short",
    "beaten": "other trials run to their end",
    "confirmation": "confirmation",
    "failures": "failures",
    "idle": "idle",
}


@dataclass(frozen=True, kw_only=True)
class TimeSpent:
    """Measured seconds of all slots of a sweep together, and what they were used for.

    Each attempt of a trial belongs to one share; all shares add up to `slot_seconds`.
    """

    #: seconds for which there were slots, all slots together
    slot_seconds: float = 0.0
    #: attempts of the ladder, also those that have diverged
    ladder: float = 0.0
    #: all attempts of the best trial, which may run still
    best: float = 0.0
    #: trials of the search that were pruned or stopped
    cut_short: float = 0.0
    #: trials of the search that came to their end, but are not the best
    beaten: float = 0.0
    #: trials that train the best configs again
    confirmation: float = 0.0
    #: attempts that have diverged, run out of memory, hung, failed or were lost
    failures: float = 0.0
    #: slots without a trial
    idle: float = 0.0
    #: of all these, scoring after rounds; None if it was not measured for each round
    scoring: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        found: dict[str, float | None] = asdict(self)
        return {name: None if s is None else round(s, 3) for name, s in found.items()}

    def __str__(self) -> str:
        """The shares in per cent, without those that are none; empty if no time has passed."""
        percent = {name: self._percent(getattr(self, name)) for name in SHARES}
        parts = [f"{percent[name]} % {words}" for name, words in SHARES.items() if percent[name]]
        if not parts:
            return ""
        scoring = self._percent(self.scoring or 0.0)
        return ", ".join(parts) + (f" (of all, {scoring} % scoring)" if scoring else "")

    def _percent(self, seconds: float) -> int:
        return round(100 * min(1.0, seconds / self.slot_seconds)) if self.slot_seconds else 0


#: what a trial is counted as that has not ended
OPEN = ("running", "paused")
#: states of a sweep that goes on without being asked to, or once it is no longer paused
GOING_ON = ("queued", "running", "paused")


@dataclass(frozen=True, kw_only=True, eq=False)
class Sweep:
    """A sweep at one moment."""

    name: str
    #: its own run; empty before it is there
    run_id: str = ""
    #: `queued`, `running`, `broken off`, or a `SweepStatus`
    state: str = "running"
    #: why it is in this state, a sentence; None if nothing says it
    why: str | None = None
    #: loss of each baseline, nats
    baselines: Mapping[str, float] = field(default_factory=dict)
    #: share of the validation symbols that training data do not have, which are not scored
    unknown_share: float = 0.0
    #: seconds for which it was driven
    now: float = 0.0
    #: seconds for which there were slots that could be used, all of them together
    slot_seconds: float = 0.0
    #: trials that have a slot, by slots; of a sweep that was read back by any number
    running: Mapping[Any, Trial] = field(default_factory=dict)
    #: trials that wait for a slot with a checkpoint, by number
    paused: Mapping[int, Trial] = field(default_factory=dict)
    #: attempts that have ended; of a sweep that is driven their runs may be open still
    finished: tuple[Trial, ...] = ()
    #: attempts that earlier drivers left unfinished, so that their trials were tried again
    unfinished: tuple[Trial, ...] = ()
    #: those of `finished` with a loss that competes, the best first
    ranked: tuple[Trial, ...] = ()
    #: when the best loss fell, seconds after the beginning, and to what, also by a round of a trial
    #: that has not ended; each lower than the one before
    best_over_time: tuple[tuple[float, float], ...] = ()
    #: configs that were trained again, that of the best trial first
    confirmed: tuple[Confirmed, ...] = ()
    #: why the best config was not trained again, a sentence without its point; empty if it was
    unconfirmed: str = ""
    #: where the time of its slots went when it was closed; None if nothing says it
    time: TimeSpent | None = None
    #: a sentence for each run that could not be read
    left_out: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        return self.now

    @property
    def is_over(self) -> bool:
        return self.state not in GOING_ON

    @property
    def under_way(self) -> list[Trial]:
        return [*self.running.values(), *self.paused.values()]

    @property
    def attempts(self) -> list[Trial]:
        return [*self.unfinished, *self.finished, *self.under_way]

    @cached_property
    def trials(self) -> list[Trial]:
        in_order = sorted(self.attempts, key=lambda one: (one.number, one.attempt))
        return list({one.number: one for one in in_order}.values())

    @property
    def best(self) -> Trial | None:
        return next(iter(self.ranked), None)

    @property
    def best_loss(self) -> float | None:
        return self.best.best_loss if self.best else None

    @property
    def front(self) -> list[Trial]:
        """`ranked`, and among them the trials under way of a sweep that goes on."""
        return [*self.ranked] if self.is_over else self._with(self.under_way, self.ranked)

    @cached_property
    def leader(self) -> Trial | None:
        """The trial with the lowest loss so far; it may go on still."""
        if self.is_over:
            return self.best
        # of trials under way, which may be many, few are as good as the best one
        best = math.inf if self.best_loss is None else self.best_loss
        losses = ((one, one.best_loss) for one in self.under_way)
        near = (one for one, loss in losses if loss is not None and loss <= best)
        return next(iter(self._with(near, self.ranked[:1])), None)

    def _with(self, under_way: Iterable[Trial], others: Iterable[Trial]) -> list[Trial]:
        going = (one for one in under_way if self.state == "running" or one.state == "paused")
        return ranked([*others, *going], of_running=True)

    @property
    def best_first(self) -> list[Trial]:
        """All trials, those of `front` first, the others by number."""
        front = self.front
        known = {one.number for one in front}
        return [*front, *(one for one in self.trials if one.number not in known)]

    @property
    def counts(self) -> dict[str, int]:
        # those that a driver which does not run has left open are none of its outcomes
        known = (one for one in self.trials if one.outcome or self.state == "running")
        return in_order_of_outcomes(Counter(one.state for one in known))

    @property
    def time_spent(self) -> TimeSpent:
        best, attempts, spent = self.leader, self.attempts, dict.fromkeys(SHARES, 0.0)
        in_order = sorted(attempts, key=lambda one: one.attempt)
        last = {one.number: one for one in in_order}
        for one in attempts:
            share = _share(one, last[one.number], best.number if best else None)
            spent[share] += one.seconds if one.ended else one.seconds_by(self.now)
        used = sum(spent.values())
        # attempts of an earlier driver are timed by the store, which may differ a little
        slot_seconds = max(self.slot_seconds, used)
        spent["idle"] = slot_seconds - used
        return TimeSpent(slot_seconds=slot_seconds, scoring=_scoring(attempts), **spent)


def in_order_of_outcomes(counts: Mapping[str, int]) -> dict[str, int]:
    """Numbers of trials by what they are counted as, without those that are 0."""
    return {str(word): counts[word] for word in (*Outcome, *OPEN) if counts.get(word)}


def _share(attempt: Trial, last: Trial, best: int | None) -> str:
    """The share of an attempt; an unfinished one belongs to that of the last of its trial."""
    if attempt.number == best:
        return "best"
    ended = last.ended if attempt.ended and attempt.ended.unfinished else attempt.ended
    outcome = ended.outcome if ended and not ended.unfinished else None
    if attempt.phase is Phase.LADDER and outcome in (None, Outcome.DIVERGED):
        return "ladder"  # it looks for the rate from which on trials diverge
    if outcome and not outcome.ranks:
        return "failures"
    phases = {Phase.LADDER: "ladder", Phase.CONFIRM: "confirmation"}
    return phases.get(attempt.phase, "beaten" if outcome is Outcome.COMPLETE else "cut_short")


def _scoring(attempts: Iterable[Trial]) -> float | None:
    """Seconds of scoring, of a repeated round once; None unless each round says its own."""
    known = set[tuple[int, int, float]]()
    for attempt in attempts:
        for number, metrics in enumerate(attempt.rounds):
            if "scoring_seconds" not in metrics:
                return None
            # to a millisecond, as it is stored
            known.add((attempt.number, number, round(metrics["scoring_seconds"], 3)))
    return sum(seconds for _, _, seconds in known) if known else None
