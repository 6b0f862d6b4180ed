"""All that is known of a running sweep, as one value; displays and reports read it."""

from __future__ import annotations

import bisect
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from lstm_sweep.models.config import Config
from lstm_sweep.models.scoring import bits
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.policy.stop_reason import DONE, Stop, StopReason
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.trial import Course, Outcome, Slot, Trial

#: why a sweep ended that was interrupted, or that `stop` has ended
INTERRUPTED = Stop(StopReason.INTERRUPTED, "interrupted")
ON_REQUEST = Stop(StopReason.ASKED, "stopped on request")


class Word(StrEnum):
    """How a sweep has ended; trials under way go on later in all but a finished one."""

    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    STOPPED = "stopped"
    FAILED = "failed"


#: how a sweep has ended that was not finished, by why
WORDS = {
    StopReason.INTERRUPTED: Word.INTERRUPTED,
    StopReason.ASKED: Word.STOPPED,
    StopReason.DRIVER_DIED: Word.STOPPED,
    StopReason.FAILURES: Word.FAILED,
    StopReason.NO_ROOM: Word.FAILED,
    StopReason.FAILED: Word.FAILED,
}


def bits_of(config: Config, loss: float | None) -> float | None:
    """A loss in bits per symbol; None if it is a template's, which may be anything."""
    return None if loss is None or config.returns_loss else bits(loss)


@dataclass
class State:
    """All that is known of a running sweep; what displays and reports read."""

    name: str
    spec: SweepSpec
    run_id: str
    slots: tuple[Slot, ...]
    baselines: dict[str, float]
    now: float = 0.0
    began: float = 0.0
    deadline: float | None = None
    running: dict[Slot, Course] = field(default_factory=dict)
    finished: list[Course] = field(default_factory=list)
    #: trials that wait for their run: those whose worker died, and one that is new
    again: list[Trial] = field(default_factory=list)
    #: why the sweep was ended before it was done; None while it goes on
    closed: Stop | None = None
    #: whether the store did not answer at the end, so that runs may be open
    left_open: bool = False
    #: seconds since the beginning, and the best loss from then on
    progress: list[tuple[float, float]] = field(default_factory=list)
    #: what decides; None before the search begins
    policy: Policy | None = None
    #: finished trials by their loss, as far as they have been placed
    _ranked: list[Course] = field(default_factory=list, repr=False)
    _placed: int = 0

    def close(self, why: Stop) -> None:
        """End the sweep before it is done."""
        self.closed = why

    @property
    def closing(self) -> str:
        """Why the sweep was ended before it was done; empty while it goes on."""
        return self.closed.text if self.closed else ""

    @property
    def stop(self) -> Stop:
        """Why the sweep has ended, or would end now."""
        return self.closed or (self.policy.stop if self.policy else None) or DONE

    @property
    def word(self) -> Word:
        """How it has ended, or would end now."""
        return WORDS.get(self.stop.reason, Word.FINISHED)

    @property
    def ending(self) -> str:
        """Why the sweep has ended, for people."""
        text = self.stop.text
        return f"failed: {text}" if self.word is Word.FAILED else text

    @property
    def broken_off(self) -> bool:
        """Whether trials under way are to go on when the sweep does."""
        return self.word is not Word.FINISHED

    @property
    def going_on(self) -> set[str]:
        """Numbers of the trials that go on when the sweep does."""
        if not self.broken_off:
            return set()
        under_way = [*self.running.values(), *filter(_may_go_on, self.finished)]
        trials = [*self.again, *(course.trial for course in under_way)]
        return {str(trial.number) for trial in trials}

    def note_loss(self, loss: float, at: float | None = None) -> None:
        """Note a validation loss, nats, of an epoch that was done at a time, or just now."""
        if not self.progress or loss < self.progress[-1][1]:
            self.progress.append(((self.now if at is None else at) - self.began, loss))

    @property
    def seconds(self) -> float:
        """Wall time since the sweep began."""
        return self.now - self.began

    @property
    def ranked(self) -> list[Course]:
        """Finished trials with a loss that competes, the best first."""
        for course in self.finished[self._placed :]:
            if course.ranked_loss is not None:
                bisect.insort(self._ranked, course, key=_rank)
        self._placed = len(self.finished)
        return self._ranked

    def is_among_best(self, course: Course, count: int) -> bool:
        """Whether a trial that ends just now is one of the best so many."""
        if course.ranked_loss is None:
            return False
        return bisect.bisect(self.ranked, _rank(course), key=_rank) < count

    @property
    def best(self) -> Course | None:
        """The best finished trial."""
        return next(iter(self.ranked), None)

    @property
    def best_loss(self) -> float | None:
        """Loss of the best finished trial, nats."""
        return self.best.ranked_loss if self.best else None

    @property
    def leader(self) -> tuple[Course, float] | None:
        """The trial with the lowest loss so far, and that loss; it may run still.

        Of a trial that runs, the best epoch so far counts.
        """
        found = [(course.best_loss, course) for course in self.running.values()]
        found += [(self.best_loss, self.best)] if self.best else []
        known = [(loss, course) for loss, course in found if loss is not None]
        loss, course = min(
            known, key=lambda one: (one[0], one[1].trial.number), default=(0.0, None)
        )
        return (course, loss) if course else None

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
    def final(self) -> list[Course]:
        """Trials that have ended for good, in order of their ends; of each its last attempt."""
        open_again = {t.number for t in self.again}
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
            under_way = sum(self._rest(course, typical) for course in self.running.values())
            left.append((max(0, waiting) * typical + under_way) / len(self.slots))
        return min(left, default=None)

    def _rest(self, course: Course, typical: float) -> float:
        """Seconds that a running trial will take still.

        Most trials are cut short, so that is what a trial takes on average, but no less than the
        epoch that it is in, and no more than all of its epochs.
        """
        share = course.progress.share if course.progress else 0.0
        epoch = typical
        if course.epoch_seconds:
            epoch = sum(course.epoch_seconds) / len(course.epoch_seconds)
        elif self.policy:
            epoch = self.policy.costs.epoch_seconds(course.trial.config)
        epochs_left = course.trial.config.epochs - len(course.epochs)
        rest = typical - (self.now - course.began)
        return min(max(rest, (1 - share) * epoch), (epochs_left - share) * epoch)

    def to_dict(self) -> dict[str, Any]:
        """The sweep as `launch --json` prints it."""
        best = self.best
        return {
            "sweep": self.name,
            "run_id": self.run_id,
            "state": str(self.word),
            "trials": self.counts,
            "best": best
            and {
                "trial": best.trial.id,
                "run_id": best.run_id,
                "val_loss": best.ranked_loss,
                "bits_per_symbol": bits_of(best.trial.config, best.ranked_loss),
                "config": best.trial.config.to_dict(),
            },
            "confirmed": [one.to_dict() for one in self.policy.confirmation.results()]
            if self.policy
            else [],
            "baselines": self.baselines,
            "seconds": round(self.seconds, 3),
        }


def _rank(course: Course) -> tuple[float | None, int]:
    return course.ranked_loss, course.trial.number


def _may_go_on(course: Course) -> bool:
    """Whether an attempt that has ended was not its trial's last."""
    ended = course.ended
    return ended is not None and (ended.unfinished or ended.outcome is Outcome.LOST)
