"""What happens to trials of a sweep, as events."""

from __future__ import annotations

from functools import partial
from typing import Any

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.driver.state import (
    SweepState,
    round_reported,
    trial_ended,
    trial_paused,
    trial_proposed,
    trial_started,
)
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.trial import Ended, Outcome, Paused, RoundDone, Slot, Trial

#: a event of `state`, and what it is given beside the state
Event = tuple[Any, ...]

A, B, C = (Slot(index, core=index) for index in range(3))
NEW = SweepState(name="s", spec=SweepSpec(trials=9), slots=(A, B), now=100.0)
LOST = Ended(Outcome.LOST, "killed")
DONE = Ended(Outcome.COMPLETE)


def trial(number: int, attempt: int = 1) -> Trial:
    return Trial(
        sweep="s", number=number, config=TrialConfig(epochs=3), seed=number, attempt=attempt
    )


def started(number: int, slot: Slot, attempt: int = 1) -> Event:
    return trial_started, trial(number, attempt), slot


def begun(number: int, slot: Slot) -> list[Event]:
    """A new trial that is trained on a slot."""
    return [(trial_proposed, trial(number)), started(number, slot)]


def epoch(slot: Slot, number: int, loss: float) -> Event:
    return round_reported, slot, RoundDone(number, {"val_loss": loss})


def over(number: int, ended: Ended = DONE) -> Event:
    return trial_ended, number, ended


def again(number: int) -> Event:
    """A trial has ended, and is to be tried once more."""
    return partial(trial_ended, again=True), number, LOST


def pause(slot: Slot, *, preempted: bool = False) -> Event:
    return trial_paused, slot, Paused("waits", preempted=preempted)


def state_after(*events: Event, state: SweepState = NEW) -> SweepState:
    for event, *arguments in events:
        state = event(state, *arguments)
    return state


def numbers(state: SweepState) -> tuple[list[int], list[int], list[int]]:
    """Trials that wait, that run, and that have ended for good."""
    return (
        [one.number for one in state.waiting],
        [one.number for one in state.running.values()],
        [one.number for one in state.final],
    )
