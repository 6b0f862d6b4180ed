"""All that is known of a running sweep, as one value; displays and reports read it."""

from __future__ import annotations

import bisect
import itertools
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from lstm_sweep.search.policy.policy import SearchReport
from lstm_sweep.search.values.progress import TrialProgress
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.stop_reason import DONE, STATUSES, Stop, StopReason, SweepStatus
from lstm_sweep.search.values.trial import Outcome, Slot, Trial

#: why a sweep ended that was interrupted, or that `stop` has ended
INTERRUPTED = Stop(StopReason.INTERRUPTED, "interrupted")
ON_REQUEST = Stop(StopReason.ASKED, "stopped on request")
PAUSED = Stop(StopReason.PAUSED, "paused on request")


@dataclass(frozen=True, eq=False)
class SweepState:
    """All that is known of a sweep at one moment; `transitions.after` gives the next state."""

    name: str
    spec: SweepSpec
    #: the sweep's own run; empty before it is there
    run_id: str
    slots: tuple[Slot, ...]
    #: loss of each baseline, nats
    baselines: Mapping[str, float] = field(default_factory=dict)
    #: share of the validation symbols that training data do not have, which are not scored
    unknown_share: float = 0.0
    #: seconds of the driver's clock
    now: float = 0.0
    began: float = 0.0
    #: seconds for which there were slots that could be used, all of them together
    slot_seconds: float = 0.0
    #: how many slots may be used at once, since other sweeps have the rest; None: all
    allowed: int | None = None
    deadline: float | None = None
    #: when the sweep is expected to end, in seconds of the driver's clock; None if nobody knows
    expected_end: float | None = None
    running: Mapping[Slot, TrialProgress] = field(default_factory=dict)
    #: trials that wait for a slot with a checkpoint, by number
    paused: Mapping[int, TrialProgress] = field(default_factory=dict)
    #: those of them that wait since other sweeps needed their slots, by number, the first first
    preempted: tuple[int, ...] = ()
    #: attempts that have ended and whose runs are closed, in order of their ends
    finished: tuple[TrialProgress, ...] = ()
    #: attempts that earlier drivers left unfinished, so that their trials were tried again
    unfinished: tuple[TrialProgress, ...] = ()
    #: the last of `finished` of each trial, by number, and how many these are by outcome
    ends: Mapping[int, TrialProgress] = field(default_factory=dict)
    outcomes: Mapping[Outcome, int] = field(default_factory=dict)
    #: those of `finished` with a loss that competes, the best first
    ranked: tuple[TrialProgress, ...] = ()
    #: trials that wait for their run: those to be tried again, and one that is new
    waiting: tuple[Trial, ...] = ()
    #: why the sweep was ended before it was done; None while it goes on
    closed: Stop | None = None
    #: whether the store did not answer at the end, so that runs may be open
    left_open: bool = False
    #: seconds since the beginning, and the best loss from then on
    best_over_time: tuple[tuple[float, float], ...] = ()
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
        """Why the sweep has ended, for people."""
        text = self.stop.text
        return f"failed: {text}" if self.status is SweepStatus.FAILED else text

    @property
    def broken_off(self) -> bool:
        """Whether trials under way are to go on when the sweep does."""
        return self.status is not SweepStatus.FINISHED

    @property
    def under_way(self) -> list[TrialProgress]:
        """Trials that run or are paused, and those whose runs are not closed."""
        return [*self.running.values(), *self.paused.values()]

    def open_trial(self, number: int) -> TrialProgress | None:
        """The trial of this number that runs or is paused, or whose run is not closed."""
        running = (one for one in self.running.values() if one.trial.number == number)
        return self.paused.get(number) or next(running, None)

    @property
    def going_on(self) -> set[str]:
        """Numbers of the trials that go on when the sweep does."""
        if not self.broken_off:
            return set()
        under_way = [*self.under_way, *filter(_may_go_on, self.finished)]
        trials = [*self.waiting, *(progress.trial for progress in under_way)]
        return {str(trial.number) for trial in trials}

    @property
    def seconds(self) -> float:
        """Wall time since the sweep began."""
        return self.now - self.began

    def is_among_best(self, progress: TrialProgress, count: int) -> bool:
        """Whether a trial that ends just now is one of the best so many."""
        if progress.ranked_loss is None:
            return False
        return bisect.bisect(self.ranked, rank(progress), key=rank) < count

    @property
    def best(self) -> TrialProgress | None:
        """The best finished trial."""
        return next(iter(self.ranked), None)

    @property
    def best_loss(self) -> float | None:
        """Loss of the best finished trial, nats."""
        return self.best.ranked_loss if self.best else None

    @property
    def leader(self) -> tuple[TrialProgress, float] | None:
        """The trial with the lowest loss so far, and that loss; it may go on still.

        Of a trial under way, the best round so far counts.
        """
        found, best = self.best, self.best_loss
        for progress in itertools.chain(self.running.values(), self.paused.values()):
            loss = progress.best_loss
            if loss is None or (best is not None and loss > best):
                continue
            if found is None or loss != best or progress.trial.number < found.trial.number:
                found, best = progress, loss
        return None if found is None or best is None else (found, best)

    @property
    def leading_loss(self) -> float | None:
        """Lowest loss so far, nats, also of trials under way."""
        leader = self.leader
        return leader[1] if leader else None

    @property
    def trials_done(self) -> int:
        """How many trials have ended for good."""
        return sum(self.counts.values())

    @property
    def counts(self) -> dict[str, int]:
        """Trials that have ended for good, by outcome; of a paused sweep also those that wait."""
        found = Counter(self.outcomes)
        for number in self._open_again:
            if ended := self.ends[number].ended:
                found[ended.outcome] -= 1
        waits = self.status is SweepStatus.PAUSED
        words = {one: "paused" if waits and one is Outcome.STOPPED else str(one) for one in Outcome}
        return {word: found[outcome] for outcome, word in words.items() if found[outcome]}

    @property
    def final(self) -> list[TrialProgress]:
        """Trials that have ended for good, in order of their ends; of each its last attempt."""
        again, ends = self._open_again, self.ends
        last = (c for c in self.finished if ends[c.trial.number] is c)
        return [c for c in last if c.trial.number not in again]

    @property
    def _open_again(self) -> set[int]:
        """Numbers of the trials of which an attempt has ended, and that are tried again."""
        waiting = {trial.number for trial in self.waiting}
        running = {progress.trial.number for progress in self.running.values()}
        return (waiting | running | self.paused.keys()) & self.ends.keys()

    @property
    def seconds_left(self) -> float | None:
        """Time to the expected end, or to the deadline if that comes first; None if unknown."""
        ends = [end for end in (self.expected_end, self.deadline) if end is not None]
        return max(0.0, min(ends) - self.now) if ends else None


def rank(progress: TrialProgress) -> tuple[float, int]:
    """By what trials are ordered, the best first; those without a loss last."""
    loss = progress.ranked_loss
    return math.inf if loss is None else loss, progress.trial.number


def _may_go_on(progress: TrialProgress) -> bool:
    """Whether an attempt that has ended was not its trial's last."""
    ended, phase = progress.ended, progress.trial.phase
    return ended is not None and (ended.unfinished or ended.outcome.most_attempts(phase) > 1)
