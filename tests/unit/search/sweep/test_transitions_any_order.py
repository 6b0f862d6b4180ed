"""Whatever happens in whatever order, a trial is in one place."""

from __future__ import annotations

import random

import pytest

from lstm_sweep.search.sweep.state import ON_REQUEST, SweepState
from lstm_sweep.search.sweep.time_spent import time_spent
from lstm_sweep.search.sweep.transitions import (
    Event,
    InvalidTransitionError,
    ProgressReported,
    SlotCame,
    SlotGone,
    SweepClosing,
    Ticked,
    TrialClosed,
    TrialEnded,
    TrialPaused,
    TrialProposed,
    TrialQueuedAgain,
    TrialResumed,
    TrialStarted,
    after,
)
from lstm_sweep.search.trial import Ended, Outcome, Paused, Progressed
from tests.unit.search.sweep.happenings import (
    NEW,
    A,
    B,
    C,
    epoch,
    numbers,
    placed,
    trial,
)


def possible(state: SweepState, chance: random.Random) -> list[Event]:
    """Events of each kind, some of which can happen."""
    number, slot = chance.randrange(5), chance.choice([A, B, C])
    waiting = chance.choice([*state.waiting, trial(number)])
    outcome = chance.choice(list(Outcome))
    return [
        Ticked(state.now + 1.0),
        SlotCame(slot),
        SlotGone(slot),
        TrialProposed(trial(number)),
        placed(waiting.number, slot, waiting.attempt),
        TrialStarted(slot),
        ProgressReported(slot, Progressed(1, chance.random(), 1.0)),
        epoch(slot, 1, chance.random()),
        TrialPaused(slot, Paused("waits")),
        TrialResumed(number, slot, placed(number, slot).job),
        TrialEnded(number, Ended(outcome, unfinished=chance.random() < 0.2)),
        TrialClosed(number),
        TrialQueuedAgain(number),
        SweepClosing(ON_REQUEST),
    ]


def check(state: SweepState) -> None:
    """What holds for each state of a sweep."""
    waiting, running, final = numbers(state)
    everywhere = [*waiting, *running, *state.paused, *final]
    assert all(one.paused or one.ended for one in state.paused.values())
    assert not any(one.paused for one in state.running.values())
    assert len(everywhere) == len(set(everywhere)), "a trial is in one place"
    assert {one.trial.number for one in state.finished} <= set(everywhere)
    assert set(state.running) <= set(state.slots)
    assert all(slot == one.slot for slot, one in state.running.items())
    assert all(one.ended for one in state.finished)
    attempts = [(one.trial.number, one.trial.attempt) for one in state.finished]
    assert len(attempts) == len(set(attempts))
    competing = [one for one in state.finished if one.ranked_loss is not None]
    assert list(state.ranked) == sorted(
        competing, key=lambda one: (one.ranked_loss, one.trial.number)
    )
    losses = [loss for _, loss in state.best_over_time]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1:] == ([] if state.leading_loss is None else [state.leading_loss])
    assert sum(state.counts.values()) == len(final)
    # no more time went on trials than there were slots for
    assert time_spent(state).slot_seconds == pytest.approx(state.slot_seconds)


@pytest.mark.parametrize("seed", range(20))
def test_each_order_of_events_that_can_happen_keeps_every_trial_in_one_place(seed: int) -> None:
    chance, state, happened, refused = random.Random(seed), NEW, 0, 0
    for _ in range(300):
        event = chance.choice(possible(state, chance))
        try:
            following = after(state, event)
        except InvalidTransitionError:
            refused += 1
            continue
        happened += 1
        check(following)
        state = following
    assert happened > 40 and refused > 40
    assert state.finished
