"""What can happen to a sweep: all that its state is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lstm_sweep.search.policy.report import SearchReport
from lstm_sweep.search.policy.stop_reason import Stop
from lstm_sweep.search.progress import TrialProgress
from lstm_sweep.search.trial import Ended, Job, Paused, Progressed, RoundDone, Slot, Trial


@dataclass(frozen=True)
class Ticked:
    """Time has passed; seconds of the driver's clock."""

    now: float


@dataclass(frozen=True)
class RunOpened:
    """The sweep's own run is there."""

    run_id: str


@dataclass(frozen=True)
class BaselineScored:
    """The loss of a baseline is known, nats."""

    name: str
    loss: float


@dataclass(frozen=True)
class Resumed:
    """The trials of a sweep that was broken off are known.

    Their times are seconds since the sweep began.
    """

    #: in order of their ends; of those tried several times, each attempt
    finished: Sequence[TrialProgress]
    #: trials to be tried again, the first first
    waiting: Sequence[Trial]
    #: attempts that earlier drivers left unfinished
    unfinished: Sequence[TrialProgress] = ()
    #: trials that had no slot, and may go on
    paused: Sequence[TrialProgress] = ()


@dataclass(frozen=True)
class SlotCame:
    """There is another slot, and it is free."""

    slot: Slot


@dataclass(frozen=True)
class SlotGone:
    """There is a slot less; the trial on it has ended before."""

    slot: Slot


@dataclass(frozen=True)
class SlotsAllowed:
    """So many of the slots may be used at once, since other sweeps have the rest; None: all."""

    count: int | None


@dataclass(frozen=True)
class TrialProposed:
    """A new trial waits for its run."""

    trial: Trial


@dataclass(frozen=True)
class TrialPlaced:
    """The run of a trial that waited is there, and a slot is given to it."""

    trial: Trial
    slot: Slot
    run_id: str
    job: Job


@dataclass(frozen=True)
class TrialStarted:
    """A worker was started for the trial on a slot."""

    slot: Slot


@dataclass(frozen=True)
class ProgressReported:
    """The trial on a slot is part way through a round."""

    slot: Slot
    progress: Progressed


@dataclass(frozen=True)
class RoundReported:
    """The trial on a slot has finished a round."""

    slot: Slot
    done: RoundDone


@dataclass(frozen=True)
class TrialPaused:
    """The trial on a slot waits with its checkpoint, and the slot is free."""

    slot: Slot
    paused: Paused


@dataclass(frozen=True)
class TrialThawed:
    """A trial that was paused is given a slot: it is thawed."""

    number: int
    slot: Slot
    job: Job


@dataclass(frozen=True)
class TrialEnded:
    """A trial that ran or was paused has ended; it is under way until its run is closed."""

    number: int
    ended: Ended


@dataclass(frozen=True)
class TrialClosed:
    """The run of a trial that has ended is closed."""

    number: int


@dataclass(frozen=True)
class TrialQueuedAgain:
    """A trial whose last attempt has ended waits for its next one."""

    number: int


@dataclass(frozen=True)
class SearchEnded:
    """The policy begins no more trials."""

    why: Stop


@dataclass(frozen=True)
class EndEstimated:
    """When the sweep is expected to end, in seconds of the driver's clock; None if nobody knows."""

    at: float | None


@dataclass(frozen=True)
class SearchReported:
    """What the search has found out by the sweep's end."""

    report: SearchReport


@dataclass(frozen=True)
class SweepClosing:
    """The sweep is ended before it is done."""

    why: Stop


@dataclass(frozen=True)
class RunsLeftOpen:
    """The store did not answer at the end, so that runs may be open."""


Event = (
    Ticked
    | RunOpened
    | BaselineScored
    | Resumed
    | SlotCame
    | SlotGone
    | SlotsAllowed
    | TrialProposed
    | TrialPlaced
    | TrialStarted
    | ProgressReported
    | RoundReported
    | TrialPaused
    | TrialThawed
    | TrialEnded
    | TrialClosed
    | TrialQueuedAgain
    | SearchEnded
    | EndEstimated
    | SearchReported
    | SweepClosing
    | RunsLeftOpen
)
