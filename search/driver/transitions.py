"""What can happen to a sweep, and its state after it; `History` holds the state."""

from __future__ import annotations

import bisect
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import TypeVar

from lstm_sweep.search.driver.state import SweepState, rank
from lstm_sweep.search.policy.policy import SearchReport
from lstm_sweep.search.values.progress import TrialProgress
from lstm_sweep.search.values.stop_reason import Stop
from lstm_sweep.search.values.trial import Ended, Job, Paused, Progressed, RoundDone, Slot, Trial


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
    """A slot is given to a trial that waited; its run is made meanwhile."""

    trial: Trial
    slot: Slot
    job: Job


@dataclass(frozen=True)
class RunCreated:
    """A trial, which may have ended, has a run."""

    trial: Trial
    run_id: str


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
class TrialResumed:
    """A trial that was paused goes on, on a slot."""

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
    | RunCreated
    | TrialStarted
    | ProgressReported
    | RoundReported
    | TrialPaused
    | TrialResumed
    | TrialEnded
    | TrialClosed
    | TrialQueuedAgain
    | SearchEnded
    | EndEstimated
    | SearchReported
    | SweepClosing
    | RunsLeftOpen
)


Key = TypeVar("Key")


class InvalidTransitionError(Exception):
    """An event that cannot happen in the state in which it was told."""


def after(state: SweepState, event: Event) -> SweepState:
    """The state once something has happened.

    Raises:
        InvalidTransitionError: it cannot happen in this state.
    """
    return _after(event, state)


@singledispatch
def _after(event: Event, state: SweepState) -> SweepState:
    raise TypeError(f"{event!r} is no event of a sweep")


@_after.register
def _(event: Ticked, state: SweepState) -> SweepState:
    passed = state.usable * (event.now - state.now)
    return replace(state, now=event.now, slot_seconds=state.slot_seconds + passed)


@_after.register
def _(event: RunOpened, state: SweepState) -> SweepState:
    _check(not state.run_id, f"the sweep has run {state.run_id}")
    return replace(state, run_id=event.run_id)


@_after.register
def _(event: BaselineScored, state: SweepState) -> SweepState:
    return replace(state, baselines={**state.baselines, event.name: event.loss})


@_after.register
def _(event: Resumed, state: SweepState) -> SweepState:
    _check(not state.running and not state.finished, "trials have been run")
    finished = [replace(one, began=one.began + state.began) for one in event.finished]
    _check(all(one.ended for one in finished), "a trial has not ended")
    paused = {one.trial.number: replace(one, began=one.began + state.began) for one in event.paused}
    state = replace(
        state,
        waiting=tuple(event.waiting),
        unfinished=tuple(event.unfinished),
        paused=paused,
        preempted=tuple(number for number, one in paused.items() if one.preempted),
    )
    known = [*finished, *paused.values()]
    for progress in sorted(known, key=lambda one: one.began + one.seconds):
        loss = progress.ranked_loss if progress.ended else progress.best_loss
        if loss is not None:
            state = _with_loss(state, loss, progress.began + progress.seconds)
    ranked = sorted((one for one in finished if one.ranked_loss is not None), key=rank)
    ends = {one.trial.number: one for one in finished}
    return replace(state, finished=tuple(finished), ranked=tuple(ranked), ends=ends)


@_after.register
def _(event: SlotCame, state: SweepState) -> SweepState:
    _check(event.slot not in state.slots, f"{event.slot} is there already")
    return replace(state, slots=(*state.slots, event.slot))


@_after.register
def _(event: SlotGone, state: SweepState) -> SweepState:
    _check(event.slot in state.slots, f"there is no {event.slot}")
    _check(event.slot not in state.running, f"a trial runs on {event.slot}")
    return replace(state, slots=tuple(slot for slot in state.slots if slot != event.slot))


@_after.register
def _(event: SlotsAllowed, state: SweepState) -> SweepState:
    return replace(state, allowed=event.count)


@_after.register
def _(event: TrialProposed, state: SweepState) -> SweepState:
    number = event.trial.number
    waits = any(trial.number == number for trial in state.waiting)
    known = waits or number in state.ends or state.open_trial(number)
    _check(not known, f"trial {number} is known already")
    return replace(state, waiting=(*state.waiting, event.trial))


@_after.register
def _(event: TrialPlaced, state: SweepState) -> SweepState:
    _check(event.trial in state.waiting, f"trial {event.trial.number} does not wait")
    _check(event.slot in state.slots, f"there is no {event.slot}")
    _check(event.slot not in state.running, f"{event.slot} is taken")
    waiting = tuple(trial for trial in state.waiting if trial != event.trial)
    placed = TrialProgress(event.trial, "", event.slot, event.job, began=state.now)
    return replace(state, waiting=waiting, running={**state.running, event.slot: placed})


@_after.register
def _(event: RunCreated, state: SweepState) -> SweepState:
    number = event.trial.number
    progress = state.open_trial(number)
    if progress and progress.trial == event.trial:
        progress = replace(progress, run_id=event.run_id)
        if number in state.paused:
            return replace(state, paused={**state.paused, number: progress})
        return _with_running(state, progress)
    ended = next((one for one in reversed(state.finished) if one.trial == event.trial), None)
    _check(ended, f"trial {number} is not known")

    assert ended
    named = {id(ended): replace(ended, run_id=event.run_id)}
    return replace(
        state,
        finished=tuple(named.get(id(one), one) for one in state.finished),
        ranked=tuple(named.get(id(one), one) for one in state.ranked),
        ends={key: named.get(id(one), one) for key, one in state.ends.items()},
    )


@_after.register
def _(event: TrialStarted, state: SweepState) -> SweepState:
    progress = _under_way(state, event.slot)
    _check(not progress.started, f"trial {progress.trial.number} is started already")
    return _with_running(state, replace(progress, started=True))


@_after.register
def _(event: ProgressReported, state: SweepState) -> SweepState:
    progress = _reporting(state, event.slot)
    return _with_running(state, replace(progress, latest=event.progress))


@_after.register
def _(event: RoundReported, state: SweepState) -> SweepState:
    progress = _reporting(state, event.slot).with_round(event.done)
    state = _with_running(state, progress)
    if progress.best_loss is None:
        return state
    return _with_loss(state, progress.best_loss, state.now)


@_after.register
def _(event: TrialPaused, state: SweepState) -> SweepState:
    progress = _reporting(state, event.slot).with_pause(event.paused, state.now)
    running = _without(state.running, event.slot)
    number = progress.trial.number
    preempted = (*state.preempted, number) if progress.preempted else state.preempted
    paused = {**state.paused, number: progress}
    return replace(state, running=running, paused=paused, preempted=preempted)


@_after.register
def _(event: TrialResumed, state: SweepState) -> SweepState:
    progress = state.paused.get(event.number)
    _check(progress and not progress.ended, f"trial {event.number} is not paused")
    _check(event.slot in state.slots, f"there is no {event.slot}")
    _check(event.slot not in state.running, f"{event.slot} is taken")
    assert progress
    paused = _without(state.paused, event.number)
    resumed = progress.with_slot(event.slot, event.job, state.now)
    preempted = _but(state.preempted, event.number)
    return _with_running(replace(state, paused=paused, preempted=preempted), resumed)


@_after.register
def _(event: TrialEnded, state: SweepState) -> SweepState:
    progress = state.open_trial(event.number)
    _check(progress, f"trial {event.number} is not under way")
    assert progress
    _check(not progress.ended, f"trial {event.number} has ended already")
    was_paused = bool(progress.paused)
    progress = progress.with_end(event.ended, state.now)
    if was_paused:
        paused = {**state.paused, event.number: progress}
        state = replace(state, paused=paused, preempted=_but(state.preempted, event.number))
    else:
        state = _with_running(state, progress)
    if progress.ranked_loss is None:
        return _without_losses(state)
    return _with_loss(state, progress.ranked_loss, state.now)


@_after.register
def _(event: TrialClosed, state: SweepState) -> SweepState:
    progress = state.open_trial(event.number)
    _check(progress is not None and progress.ended, f"trial {event.number} has not ended")
    assert progress
    if event.number in state.paused:
        state = replace(state, paused=_without(state.paused, event.number))
    else:
        state = replace(state, running=_without(state.running, progress.slot))
    return _with_finished(state, progress)


@_after.register
def _(event: TrialQueuedAgain, state: SweepState) -> SweepState:
    attempts = [one.trial for one in state.finished if one.trial.number == event.number]
    _check(attempts, f"trial {event.number} has not ended")
    under_way = (progress.trial for progress in state.under_way)
    open_now = [*state.waiting, *under_way]
    _check(
        all(trial.number != event.number for trial in open_now),
        f"trial {event.number} is to be tried already",
    )
    last: Trial = max(attempts, key=lambda trial: trial.attempt)
    return replace(state, waiting=(*state.waiting, last.next_attempt()))


@_after.register
def _(event: SearchEnded, state: SweepState) -> SweepState:
    _check(state.search_ended is None, "the search has ended already")
    return replace(state, search_ended=event.why)


@_after.register
def _(event: EndEstimated, state: SweepState) -> SweepState:
    return replace(state, expected_end=event.at)


@_after.register
def _(event: SearchReported, state: SweepState) -> SweepState:
    found = event.report
    return replace(state, report=found, confirmed=found.confirmed, unconfirmed=found.omitted)


@_after.register
def _(event: SweepClosing, state: SweepState) -> SweepState:
    return replace(state, closed=event.why)


@_after.register
def _(event: RunsLeftOpen, state: SweepState) -> SweepState:
    return replace(state, left_open=True)


def _check(holds: object, why: str) -> None:
    if not holds:
        raise InvalidTransitionError(why)


def _without(trials: Mapping[Key, TrialProgress], key: Key) -> dict[Key, TrialProgress]:
    left = dict(trials)
    del left[key]
    return left


def _but(numbers: tuple[int, ...], number: int) -> tuple[int, ...]:
    return tuple(other for other in numbers if other != number)


def _under_way(state: SweepState, slot: Slot) -> TrialProgress:
    """The trial on a slot, which has not ended."""
    progress = state.running.get(slot)
    if progress is None:
        raise InvalidTransitionError(f"no trial runs on {slot}")
    _check(not progress.ended, f"trial {progress.trial.number} has ended already")
    return progress


def _reporting(state: SweepState, slot: Slot) -> TrialProgress:
    """The trial on a slot, which has a worker that can report."""
    progress = _under_way(state, slot)
    _check(progress.started, f"trial {progress.trial.number} was not started")
    return progress


def _with_running(state: SweepState, progress: TrialProgress) -> SweepState:
    return replace(state, running={**state.running, progress.slot: progress})


def _with_finished(state: SweepState, progress: TrialProgress) -> SweepState:
    ranked = state.ranked
    if progress.ranked_loss is not None:
        place = bisect.bisect(ranked, rank(progress), key=rank)
        ranked = (*ranked[:place], progress, *ranked[place:])
    return replace(
        state,
        finished=(*state.finished, progress),
        ranked=ranked,
        ends={**state.ends, progress.trial.number: progress},
    )


def _with_loss(state: SweepState, loss: float, at: float) -> SweepState:
    """Note a validation loss, nats, of a round that was done at a time of the driver's clock."""
    if state.best_over_time and loss >= state.best_over_time[-1][1]:
        return state
    best_over_time = (*state.best_over_time, (at - state.began, loss))
    return replace(state, best_over_time=best_over_time)


def _without_losses(state: SweepState) -> SweepState:
    """Leave out losses of a trial that has failed: those below the best one that still counts.

    That one counts from now on, or from when it was the best first.
    """
    best = state.leading_loss
    lowest = math.inf if best is None else best
    counting = tuple(one for one in state.best_over_time if one[1] >= lowest)
    state = replace(state, best_over_time=counting)
    return state if best is None else _with_loss(state, best, state.now)


#: number of earlier events listed in the message of an `InvalidTransitionError`
EVENTS_LISTED = 30
#: kinds of events that come several times a second, and are not listed
FREQUENT = (Ticked, ProgressReported)


class SweepClock:
    """Seconds of a clock, without those for which it was held: a sweep without slots does not age.

    What is left of `minutes` is not used up by other sweeps.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        #: seconds for which it was held, by the last call
        self.held = 0.0
        self._held_at: float | None = None

    def __call__(self) -> float:
        """Seconds of the clock without those for which it was held."""
        now = self._clock()
        if self._held_at is not None:
            self.held = now - self._held_at
        return now - self.held

    def hold(self, *, held: bool) -> None:
        """Stop the clock, or let it go on."""
        if held != (self._held_at is not None):
            now = self()
            self._held_at = now if held else None


class History:
    """Holds the state of a sweep; nothing but `apply` changes it."""

    def __init__(self, state: SweepState, clock: Callable[[], float]) -> None:
        self._state, self._clock = state, clock
        self._events: deque[Event] = deque(maxlen=EVENTS_LISTED)

    @property
    def state(self) -> SweepState:
        """The current state, an immutable value."""
        return self._state

    def apply(self, event: Event) -> SweepState:
        """Apply an event; return the state that follows.

        Raises:
            InvalidTransitionError: it cannot happen in this state. The last events are listed.
        """
        try:
            self._state = after(self._state, event)
        except InvalidTransitionError as error:
            listed = "".join(f"\n  {earlier}" for earlier in self._events)
            raise InvalidTransitionError(f"{error}: {event}; before that:{listed}") from None
        if not isinstance(event, FREQUENT):
            self._events.append(event)
        return self._state

    def tick(self) -> float:
        """Read the clock into the state; return what it shows."""
        return self.apply(Ticked(self._clock())).now
