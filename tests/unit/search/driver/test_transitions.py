"""What a sweep's state becomes when something happens, and what cannot happen."""

from __future__ import annotations

import random

import pytest

from lstm_sweep.search.driver.state import (
    SweepState,
    progress_reported,
    run_created,
    slot_came,
    slot_gone,
    time_passed,
    trial_ended,
    trial_proposed,
    with_attempts,
)
from lstm_sweep.search.values.trial import Ended, Outcome, Progressed
from tests.unit.search.driver.happenings import (
    LOST,
    NEW,
    A,
    B,
    C,
    Event,
    again,
    begun,
    epoch,
    numbers,
    over,
    pause,
    started,
    state_after,
    trial,
)

NEW_TRIAL = (trial_proposed, trial(0))


@pytest.mark.parametrize(
    ("events", "event", "why"),
    [
        ([NEW_TRIAL], NEW_TRIAL, "trial 0 is known already"),
        (begun(0, A), NEW_TRIAL, "trial 0 is known already"),
        ([*begun(0, A), over(0)], NEW_TRIAL, "trial 0 is known already"),
        ([*begun(0, A), pause(A)], NEW_TRIAL, "trial 0 is known already"),
        ([], started(0, A), "trial 0 does not wait"),
        (begun(0, A), started(0, B), "trial 0 does not wait"),
        ([NEW_TRIAL], started(0, A, 2), "trial 0 does not wait"),
        ([NEW_TRIAL], started(0, C), "there is no core 2"),
        ([*begun(0, A), (trial_proposed, trial(1))], started(1, A), "a trial runs on core 0"),
        ([*begun(0, A), pause(A), *begun(1, B)], started(0, B), "a trial runs on core 1"),
        ([*begun(0, A), pause(A), over(0)], started(0, B), "trial 0 does not wait"),
        ([], epoch(A, 1, 1.0), "no trial runs on core 0"),
        ([*begun(0, A), over(0)], epoch(A, 1, 1.0), "no trial runs on core 0"),
        ([*begun(0, A), pause(A)], epoch(A, 1, 1.0), "no trial runs on core 0"),
        ([], (progress_reported, A, Progressed(1, 0.5, 1.0)), "no trial runs on core 0"),
        ([], pause(A), "no trial runs on core 0"),
        ([], over(0), "trial 0 is not under way"),
        ([*begun(0, A), over(0)], over(0, LOST), "trial 0 is not under way"),
        ([*begun(0, A), again(0)], again(0), "trial 0 is not under way"),
        ([], (run_created, trial(0), "r"), "trial 0 is not known"),
        ([], (slot_came, A), "core 0 is there already"),
        ([], (slot_gone, C), "there is no core 2"),
        (begun(0, A), (slot_gone, A), "a trial runs on core 0"),
    ],
)
def test_what_cannot_happen_is_refused(events: list[Event], event: Event, why: str) -> None:
    before = state_after(*events)
    with pytest.raises(AssertionError) as caught:
        state_after(event, state=before)
    assert str(caught.value) == why


def test_losses_of_a_trial_that_has_failed_are_not_the_best_over_time_any_more() -> None:
    led = (
        *begun(0, A), *begun(1, B), (time_passed, 110.0), epoch(A, 1, 3.0), (time_passed, 120.0),
        epoch(B, 1, 2.0), (time_passed, 130.0), epoch(A, 2, 2.5), (time_passed, 140.0),
    )  # fmt: skip
    failed = state_after(*led, over(1, Ended(Outcome.DIVERGED)))
    assert failed.best_over_time == ((110.0, 3.0), (140.0, 2.5))
    assert state_after(epoch(A, 3, 2.4), state=failed).best_over_time[-1] == (140.0, 2.4)
    none = state_after(over(0, Ended(Outcome.HUNG)), state=failed)
    assert none.best_over_time == ()
    assert with_attempts(NEW, failed.finished).best_over_time == ()


def test_a_trial_that_waits_goes_on_where_it_was_on_any_slot() -> None:
    """Its rounds are reported again from its checkpoint on; its time is that on slots."""
    state = state_after(
        *begun(0, A), epoch(A, 1, 2.0), epoch(A, 2, 1.5), (time_passed, 110.0), pause(A)
    )
    assert numbers(state) == ([], [], []) and list(state.paused) == [0]
    assert state.leading_loss == 1.5
    more = [epoch(B, 1, 9.0), epoch(B, 2, 9.0), epoch(B, 3, 1.0)]
    state = state_after(
        (time_passed, 150.0), started(0, B), *more, (time_passed, 155.0), over(0), state=state
    )
    [done] = state.final
    assert [one["val_loss"] for one in done.rounds] == [2.0, 1.5, 1.0]
    assert (done.began, done.seconds, done.slot) == (100.0, 15.0, B)
    assert (state.paused, state.running, done.paused) == ({}, {}, "")


def preempted(state: SweepState) -> list[int]:
    return [one.number for one in state.preempted]


def possible(state: SweepState, chance: random.Random) -> list[Event]:
    """Events of each kind, some of which can happen."""
    number, slot = chance.randrange(5), chance.choice([A, B, C])
    waiting = chance.choice([*state.waiting, trial(number)])
    outcome = chance.choice(list(Outcome))
    return [
        (time_passed, state.now + 1.0),
        (slot_came, slot),
        (slot_gone, slot),
        (trial_proposed, trial(number)),
        started(waiting.number, slot, waiting.attempt),
        started(number, slot),
        (run_created, trial(waiting.number, chance.choice([1, 2])), f"run-{number}"),
        (progress_reported, slot, Progressed(1, chance.random(), 1.0)),
        epoch(slot, 1, chance.random()),
        pause(slot),
        (trial_ended, number, Ended(outcome, unfinished=chance.random() < 0.2)),
        again(number),
    ]


def check(state: SweepState) -> None:
    """What holds for each state of a sweep."""
    waiting, running, final = numbers(state)
    everywhere = [*waiting, *running, *state.paused, *final]
    assert all(one.paused and not one.ended for one in state.paused.values())
    assert not any(one.paused or one.ended for one in state.running.values())
    assert len(everywhere) == len(set(everywhere)), "a trial is in one place"
    assert {one.number for one in state.finished} <= set(everywhere)
    assert set(state.running) <= set(state.slots)
    assert all(slot == one.slot for slot, one in state.running.items())
    assert all(one.ended for one in state.finished)
    attempts = [(one.number, one.attempt) for one in state.finished]
    assert len(attempts) == len(set(attempts))
    competing = [one for one in state.finished if one.ranked_loss is not None]
    assert list(state.ranked) == sorted(competing, key=lambda one: (one.ranked_loss, one.number))
    losses = [loss for _, loss in state.best_over_time]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1:] == ([] if state.leading_loss is None else [state.leading_loss])
    assert sum(state.counts.values()) == len(final)
    # no more time went on trials than there were slots for
    assert state.time_spent.slot_seconds == pytest.approx(state.slot_seconds)


@pytest.mark.parametrize("seed", range(5))
def test_each_order_of_events_that_can_happen_keeps_every_trial_in_one_place(seed: int) -> None:
    chance, state, happened, refused = random.Random(seed), NEW, 0, 0
    for _ in range(400):
        event = chance.choice(possible(state, chance))
        try:
            following = state_after(event, state=state)
        except AssertionError:
            refused += 1
            continue
        happened += 1
        check(following)
        state = following
    assert happened > 40 and refused > 40
    assert state.finished
