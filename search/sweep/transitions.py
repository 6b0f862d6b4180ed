"""How the state of a sweep follows from what happens. No input or output, and no clock.

An event that cannot happen in a state is a fault of this program, and is refused.
"""

from __future__ import annotations

import bisect
from dataclasses import replace
from functools import singledispatch

from lstm_sweep.search.sweep.events import (
    BaselineScored,
    Event,
    ProgressReported,
    Resumed,
    RoundReported,
    RunOpened,
    RunsLeftOpen,
    SearchEnded,
    SearchReported,
    SlotCame,
    SlotGone,
    SweepClosing,
    Ticked,
    TrialClosed,
    TrialEnded,
    TrialPlaced,
    TrialProposed,
    TrialQueuedAgain,
    TrialStarted,
)
from lstm_sweep.search.sweep.state import SweepState, rank
from lstm_sweep.search.trial import Slot, Trial, TrialProgress


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
    return replace(state, now=event.now)


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
    state = replace(state, waiting=tuple(event.waiting))
    for progress in finished:
        if progress.best_loss is not None:
            state = _with_loss(state, progress.best_loss, progress.began + progress.seconds)
        state = _with_finished(state, progress)
    return state


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
def _(event: TrialProposed, state: SweepState) -> SweepState:
    number = event.trial.number
    known = [*state.waiting, *(progress.trial for progress in _begun(state))]
    _check(all(trial.number != number for trial in known), f"trial {number} is known already")
    return replace(state, waiting=(*state.waiting, event.trial))


@_after.register
def _(event: TrialPlaced, state: SweepState) -> SweepState:
    _check(event.trial in state.waiting, f"trial {event.trial.number} does not wait")
    _check(event.slot in state.slots, f"there is no {event.slot}")
    _check(event.slot not in state.running, f"{event.slot} is taken")
    waiting = tuple(trial for trial in state.waiting if trial != event.trial)
    placed = TrialProgress(event.trial, event.run_id, event.slot, event.job, began=state.now)
    return replace(state, waiting=waiting, running={**state.running, event.slot: placed})


@_after.register
def _(event: TrialStarted, state: SweepState) -> SweepState:
    progress = _under_way(state, event.slot)
    _check(not progress.started, f"trial {progress.trial.number} is started already")
    return _with_running(
        state, replace(progress, started=True, predicted_round_s=event.predicted_round_s)
    )


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
def _(event: TrialEnded, state: SweepState) -> SweepState:
    progress = _under_way(state, event.slot).with_end(event.ended, state.now)
    state = _with_running(state, progress)
    if progress.ranked_loss is None:
        return state
    return _with_loss(state, progress.ranked_loss, state.now)


@_after.register
def _(event: TrialClosed, state: SweepState) -> SweepState:
    progress = state.running.get(event.slot)
    _check(progress is not None and progress.ended, f"no trial has ended on {event.slot}")
    assert progress
    running = {slot: other for slot, other in state.running.items() if slot != event.slot}
    return _with_finished(replace(state, running=running), progress)


@_after.register
def _(event: TrialQueuedAgain, state: SweepState) -> SweepState:
    attempts = [one.trial for one in state.finished if one.trial.number == event.number]
    _check(attempts, f"trial {event.number} has not ended")
    open_now = [*state.waiting, *(progress.trial for progress in state.running.values())]
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
def _(event: SearchReported, state: SweepState) -> SweepState:
    return replace(state, report=event.report)


@_after.register
def _(event: SweepClosing, state: SweepState) -> SweepState:
    return replace(state, closed=event.why)


@_after.register
def _(event: RunsLeftOpen, state: SweepState) -> SweepState:
    return replace(state, left_open=True)


def _check(holds: object, why: str) -> None:
    if not holds:
        raise InvalidTransitionError(why)


def _begun(state: SweepState) -> list[TrialProgress]:
    return [*state.running.values(), *state.finished]


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
    return replace(state, finished=(*state.finished, progress), ranked=ranked)


def _with_loss(state: SweepState, loss: float, at: float) -> SweepState:
    """Note a validation loss, nats, of a round that was done at a time of the driver's clock."""
    if state.best_over_time and loss >= state.best_over_time[-1][1]:
        return state
    best_over_time = (*state.best_over_time, (at - state.began, loss))
    return replace(state, best_over_time=best_over_time)
