"""What happens to trials of a sweep, as events."""

from __future__ import annotations

from pathlib import Path

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.windows import Scoring
from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.driver.transitions import (
    Event,
    RoundReported,
    TrialClosed,
    TrialEnded,
    TrialPaused,
    TrialPlaced,
    TrialProposed,
    TrialResumed,
    TrialStarted,
    after,
)
from lstm_sweep.search.engines.trainings import CorpusTraining
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.trial import Ended, Job, Outcome, Paused, RoundDone, Slot, Trial

A, B, C = (Slot(index, core=index) for index in range(3))
NEW = SweepState(name="s", spec=SweepSpec(trials=9), slots=(A, B), began=100.0, now=100.0)
LOST = Ended(Outcome.LOST, "killed")
DONE = Ended(Outcome.COMPLETE)


def trial(number: int, attempt: int = 1) -> Trial:
    return Trial(
        sweep="s", number=number, config=TrialConfig(epochs=3), seed=number, attempt=attempt
    )


def placed(number: int, slot: Slot, attempt: int = 1) -> TrialPlaced:
    one, here = trial(number, attempt), Path("/none")
    job = Job(trial=one, slot=slot, training=CorpusTraining(here, Scoring(1, 0)), folder=here)
    return TrialPlaced(one, slot, job)


def begun(number: int, slot: Slot) -> list[Event]:
    """A new trial that is trained on a slot."""
    return [TrialProposed(trial(number)), placed(number, slot), TrialStarted(slot)]


def epoch(slot: Slot, number: int, loss: float) -> RoundReported:
    return RoundReported(slot, RoundDone(number, {"val_loss": loss}))


def over(number: int, ended: Ended = DONE) -> list[Event]:
    """A trial has ended, and its run is closed."""
    return [TrialEnded(number, ended), TrialClosed(number)]


def pause(slot: Slot, *, preempted: bool = False) -> TrialPaused:
    return TrialPaused(slot, Paused("waits", preempted=preempted))


def resume(number: int, slot: Slot) -> list[Event]:
    """A trial that was paused is trained on a slot."""
    return [TrialResumed(number, slot, placed(number, slot).job), TrialStarted(slot)]


def state_after(*events: Event, state: SweepState = NEW) -> SweepState:
    for event in events:
        state = after(state, event)
    return state


def numbers(state: SweepState) -> tuple[list[int], list[int], list[int]]:
    """Trials that wait, that run, and that have ended for good."""
    return (
        [one.number for one in state.waiting],
        [one.trial.number for one in state.running.values()],
        [one.trial.number for one in state.final],
    )
