"""Why and how a sweep has ended, as values; the sentence beside them is for people alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


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
        """Status of the run in MLflow of a sweep that has ended so."""
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
