"""Why and how a sweep has ended, as values; the sentence beside them is for people alone."""

from __future__ import annotations

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
