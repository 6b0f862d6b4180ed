"""A sweep as its driver holds it: the value, and what is decided about it just now."""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from typing_extensions import override

from lstm_sweep.search.policy.policy import SearchReport
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.sweep import (
    DONE,
    STATUSES,
    Stop,
    StopReason,
    Sweep,
    SweepStatus,
    in_order_of_outcomes,
)
from lstm_sweep.search.values.trial import Outcome, Slot, Trial

#: why a sweep ended that was interrupted, or that `stop` has ended
INTERRUPTED = Stop(StopReason.INTERRUPTED, "interrupted")
ON_REQUEST = Stop(StopReason.ASKED, "stopped on request")
PAUSED = Stop(StopReason.PAUSED, "paused on request")


@dataclass(frozen=True, kw_only=True, eq=False)
class SweepState(Sweep):
    """A sweep as its driver knows it; each event of `transitions` gives the next state."""

    spec: SweepSpec
    slots: tuple[Slot, ...]
    running: Mapping[Slot, Trial] = field(default_factory=dict)
    #: how many slots may be used at once, since other sweeps have the rest; None: all
    allowed: int | None = None
    deadline: float | None = None
    #: when the sweep is expected to end, in seconds of the driver's clock; None if nobody knows
    expected_end: float | None = None
    #: the last of `finished` of each trial, by number
    ends: Mapping[int, Trial] = field(default_factory=dict)
    #: trials that wait for their run: those to be tried again, and one that is new
    waiting: tuple[Trial, ...] = ()
    #: why the sweep was ended before it was done; None while it goes on
    closed: Stop | None = None
    #: whether the store did not answer at the end, so that runs may be open
    left_open: bool = False
    #: why the policy begins no more trials; None while it does
    search_ended: Stop | None = None
    #: what the search has found out; None before the sweep's end
    report: SearchReport | None = None

    @property
    def usable(self) -> int:
        """How many slots can be used at once, without those that other sweeps have."""
        if self.allowed is None:
            return len(self.slots)
        return min(len(self.slots), max(self.allowed, len(self.running)))

    @property
    def preempted(self) -> Iterator[Trial]:
        """Trials that wait since other sweeps needed their slots, the first first."""
        return (progress for progress in self.paused.values() if progress.preempted)

    @property
    def closing(self) -> str:
        """Why the sweep was ended before it was done; empty while it goes on."""
        return self.closed.text if self.closed else ""

    @property
    def stop(self) -> Stop:
        """Why the sweep has ended, or would end now."""
        return self.closed or self.search_ended or DONE

    @property
    def status(self) -> SweepStatus:
        """How it has ended, or would end now."""
        return STATUSES.get(self.stop.reason, SweepStatus.FINISHED)

    @property
    def ending(self) -> str:
        text = self.stop.text
        return f"failed: {text}" if self.status is SweepStatus.FAILED else text

    @property
    def broken_off(self) -> bool:
        """Whether trials under way are to go on when the sweep does."""
        return self.status is not SweepStatus.FINISHED

    def open_trial(self, number: int) -> Trial | None:
        running = (one for one in self.running.values() if one.number == number)
        return self.paused.get(number) or next(running, None)

    @property
    def going_on(self) -> set[str]:
        """Numbers of the trials that go on when the sweep does."""
        if not self.broken_off:
            return set()
        under_way = [*self.under_way, *filter(_may_go_on, self.finished)]
        trials = [*self.waiting, *under_way]
        return {str(trial.number) for trial in trials}

    def is_among_best(self, progress: Trial, count: int) -> bool:
        """Whether a trial that ends just now is one of the best so many."""
        if progress.ranked_loss is None:
            return False
        return bisect.bisect(self.ranked, rank(progress), key=rank) < count

    @property
    def leading_loss(self) -> float | None:
        """Lowest loss so far, nats, also of trials under way."""
        return self.leader.best_loss if self.leader else None

    @property
    def trials_done(self) -> int:
        return len(self.ends) - len(self._open_again)

    @property
    @override
    def counts(self) -> dict[str, int]:
        """Trials that have ended for good, by outcome; of a paused sweep also those that wait."""
        found = Counter(one.outcome for one in self.final)
        if self.status is SweepStatus.PAUSED:
            found["paused"] = found.pop(Outcome.STOPPED, 0)
        return in_order_of_outcomes(found)

    def as_ended(self) -> SweepState:
        """The sweep with how it has ended, or would end now, and where its time went."""
        ended = replace(self, state=str(self.status), why=self.stop.text)
        return replace(ended, time=ended.time_spent)

    @property
    def final(self) -> list[Trial]:
        """Trials that have ended for good, in order of their ends; of each its last attempt."""
        again, ends = self._open_again, self.ends
        last = (c for c in self.finished if ends[c.number] is c)
        return [c for c in last if c.number not in again]

    @property
    def _open_again(self) -> set[int]:
        """Numbers of the trials of which an attempt has ended, and that are tried again."""
        waiting = {trial.number for trial in self.waiting}
        running = {progress.number for progress in self.running.values()}
        return (waiting | running | self.paused.keys()) & self.ends.keys()

    @property
    def seconds_left(self) -> float | None:
        """Time to the expected end, or to the deadline if that comes first; None if unknown."""
        ends = [end for end in (self.expected_end, self.deadline) if end is not None]
        return max(0.0, min(ends) - self.now) if ends else None


def rank(progress: Trial) -> tuple[float, int]:
    """By what trials are ordered, the best first; those without a loss last."""
    loss = progress.ranked_loss
    return math.inf if loss is None else loss, progress.number


def _may_go_on(progress: Trial) -> bool:
    """Whether an attempt that has ended was not its trial's last."""
    ended, phase = progress.ended, progress.phase
    return ended is not None and (ended.unfinished or ended.outcome.most_attempts(phase) > 1)
