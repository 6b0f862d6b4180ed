"""All that is known of a running sweep, as one value; displays and reports read it."""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from lstm_sweep.search.policy.report import SearchReport
from lstm_sweep.search.policy.stop_reason import DONE, STATUSES, Stop, StopReason, SweepStatus
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.trial import Outcome, Slot, Trial, TrialProgress

#: why a sweep ended that was interrupted, or that `stop` has ended
INTERRUPTED = Stop(StopReason.INTERRUPTED, "interrupted")
ON_REQUEST = Stop(StopReason.ASKED, "stopped on request")


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
    #: seconds of the driver's clock
    now: float = 0.0
    began: float = 0.0
    deadline: float | None = None
    running: Mapping[Slot, TrialProgress] = field(default_factory=dict)
    #: attempts that have ended and whose runs are closed, in order of their ends
    finished: tuple[TrialProgress, ...] = ()
    #: those of them with a loss that competes, the best first
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
    def going_on(self) -> set[str]:
        """Numbers of the trials that go on when the sweep does."""
        if not self.broken_off:
            return set()
        under_way = [*self.running.values(), *filter(_may_go_on, self.finished)]
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
        """The trial with the lowest loss so far, and that loss; it may run still.

        Of a trial that runs, the best round so far counts.
        """
        found = [(progress.best_loss, progress) for progress in self.running.values()]
        found += [(self.best_loss, self.best)] if self.best else []
        known = [(loss, progress) for loss, progress in found if loss is not None]
        loss, progress = min(
            known, key=lambda one: (one[0], one[1].trial.number), default=(0.0, None)
        )
        return (progress, loss) if progress else None

    @property
    def trials_done(self) -> int:
        """How many trials have ended for good."""
        return sum(self.counts.values())

    @property
    def counts(self) -> dict[str, int]:
        """Trials that have ended for good, by outcome."""
        found = Counter(str(c.ended.outcome) for c in self.final if c.ended)
        return {str(outcome): found[str(outcome)] for outcome in Outcome if found[str(outcome)]}

    @property
    def final(self) -> list[TrialProgress]:
        """Trials that have ended for good, in order of their ends; of each its last attempt."""
        open_again = {t.number for t in self.waiting}
        open_again |= {c.trial.number for c in self.running.values()}
        last = {c.trial.number: c for c in self.finished if c.trial.number not in open_again}
        return [c for c in self.finished if last.get(c.trial.number) is c]

    @property
    def seconds_left(self) -> float | None:
        """Time to the end by the pace so far, or to the deadline if that comes first."""
        left = [] if self.deadline is None else [max(0.0, self.deadline - self.now)]
        done = [c.seconds for c in self.finished]
        if done:
            waiting = self.spec.trials - self.trials_done - len(self.running)
            typical = sum(done) / len(done)
            under_way = sum(self._rest(progress, typical) for progress in self.running.values())
            left.append((max(0, waiting) * typical + under_way) / max(1, len(self.slots)))
        return min(left, default=None)

    def _rest(self, progress: TrialProgress, typical: float) -> float:
        """Seconds that a running trial will take still.

        Most trials are cut short, so that is what a trial takes on average, but no less than the
        round that it is in, and no more than all of its rounds.
        """
        share = progress.latest.share if progress.latest else 0.0
        each = progress.predicted_round_s or typical
        if progress.round_seconds:
            each = sum(progress.round_seconds) / len(progress.round_seconds)
        rounds_left = progress.trial.rounds - len(progress.rounds)
        rest = typical - (self.now - progress.began)
        return min(max(rest, (1 - share) * each), (rounds_left - share) * each)


def rank(progress: TrialProgress) -> tuple[float, int]:
    """By what trials are ordered, the best first; those without a loss last."""
    loss = progress.ranked_loss
    return math.inf if loss is None else loss, progress.trial.number


def _may_go_on(progress: TrialProgress) -> bool:
    """Whether an attempt that has ended was not its trial's last."""
    ended = progress.ended
    return ended is not None and (ended.unfinished or ended.outcome is Outcome.LOST)
