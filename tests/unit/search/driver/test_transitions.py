"""What a sweep's state becomes when something happens, and what cannot happen."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from lstm_sweep.search.driver.state import ON_REQUEST, SweepState
from lstm_sweep.search.driver.transitions import (
    Event,
    History,
    InvalidTransitionError,
    ProgressReported,
    Resumed,
    RunCreated,
    RunOpened,
    SearchEnded,
    SearchReported,
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
from lstm_sweep.search.policy.policy import SearchReport
from lstm_sweep.search.values.stop_reason import Stop, StopReason
from lstm_sweep.search.values.trial import Ended, Outcome, Paused, Progressed
from tests.unit.search.driver.happenings import (
    DONE,
    LOST,
    NEW,
    A,
    B,
    C,
    begun,
    epoch,
    numbers,
    over,
    pause,
    placed,
    resume,
    state_after,
    trial,
)


@pytest.mark.parametrize(
    ("events", "event", "why"),
    [
        ([RunOpened("r")], RunOpened("q"), "the sweep has run r"),
        ([TrialProposed(trial(0))], TrialProposed(trial(0)), "trial 0 is known already"),
        (begun(0, A), TrialProposed(trial(0)), "trial 0 is known already"),
        ([*begun(0, A), *over(0)], TrialProposed(trial(0)), "trial 0 is known already"),
        ([], placed(0, A), "trial 0 does not wait"),
        ([TrialProposed(trial(0))], placed(0, A, 2), "trial 0 does not wait"),
        ([TrialProposed(trial(0))], placed(0, C), "there is no core 2"),
        ([*begun(0, A), TrialProposed(trial(1))], placed(1, A), "core 0 is taken"),
        ([], TrialStarted(A), "no trial runs on core 0"),
        (begun(0, A), TrialStarted(A), "trial 0 is started already"),
        ([], epoch(A, 1, 1.0), "no trial runs on core 0"),
        ([TrialProposed(trial(0)), placed(0, A)], epoch(A, 1, 1.0), "trial 0 was not started"),
        ([*begun(0, A), TrialEnded(0, DONE)], epoch(A, 1, 1.0), "trial 0 has ended already"),
        ([*begun(0, A), TrialEnded(0, DONE)], TrialEnded(0, LOST), "trial 0 has ended already"),
        ([*begun(0, A), *over(0)], TrialEnded(0, LOST), "trial 0 is not under way"),
        ([], ProgressReported(A, Progressed(1, 0.5, 1.0)), "no trial runs on core 0"),
        (begun(0, A), TrialClosed(0), "trial 0 has not ended"),
        ([], TrialClosed(0), "trial 0 has not ended"),
        ([], pause(A), "no trial runs on core 0"),
        ([TrialProposed(trial(0)), placed(0, A)], pause(A), "trial 0 was not started"),
        ([*begun(0, A), TrialEnded(0, DONE)], pause(A), "trial 0 has ended already"),
        (begun(0, A), resume(0, B)[0], "trial 0 is not paused"),
        ([*begun(0, A), pause(A)], resume(0, C)[0], "there is no core 2"),
        ([*begun(0, A), pause(A), *begun(1, B)], resume(0, B)[0], "core 1 is taken"),
        ([*begun(0, A), pause(A), TrialEnded(0, DONE)], resume(0, B)[0], "trial 0 is not paused"),
        ([*begun(0, A), pause(A)], TrialProposed(trial(0)), "trial 0 is known already"),
        ([*begun(0, A), pause(A)], epoch(A, 1, 1.0), "no trial runs on core 0"),
        ([], TrialQueuedAgain(0), "trial 0 has not ended"),
        (begun(0, A), TrialQueuedAgain(0), "trial 0 has not ended"),
        (
            [*begun(0, A), *over(0, LOST), TrialQueuedAgain(0)],
            TrialQueuedAgain(0),
            "trial 0 is to be tried already",
        ),
        (
            [*begun(0, A), *over(0, LOST), TrialQueuedAgain(0), placed(0, B, 2)],
            TrialQueuedAgain(0),
            "trial 0 is to be tried already",
        ),
        ([], SlotCame(A), "core 0 is there already"),
        ([], SlotGone(C), "there is no core 2"),
        (begun(0, A), SlotGone(A), "a trial runs on core 0"),
        (begun(0, A), Resumed((), ()), "trials have been run"),
    ],
)
def test_what_cannot_happen_is_refused(events: list[Event], event: Event, why: str) -> None:
    before = state_after(*events)
    with pytest.raises(InvalidTransitionError) as caught:
        after(before, event)
    assert str(caught.value) == why


def test_a_search_ends_once_and_then_is_reported() -> None:
    why = Stop(StopReason.PATIENCE, "no better for 9 trials")
    state = after(NEW, SearchEnded(why))
    assert (NEW.search_ended, state.stop) == (None, why)
    with pytest.raises(InvalidTransitionError, match="the search has ended already"):
        after(state, SearchEnded(why))
    report = SearchReport(None, (), "too little time")
    assert after(state, SearchReported(report)).report is report


def test_losses_of_a_trial_that_has_failed_are_not_the_best_over_time_any_more() -> None:
    led = (
        *begun(0, A), *begun(1, B), Ticked(110.0), epoch(A, 1, 3.0), Ticked(120.0),
        epoch(B, 1, 2.0), Ticked(130.0), epoch(A, 2, 2.5), Ticked(140.0),
    )  # fmt: skip
    failed = state_after(*led, *over(1, Ended(Outcome.DIVERGED)))
    assert failed.best_over_time == ((10.0, 3.0), (40.0, 2.5))
    assert state_after(epoch(A, 3, 2.4), state=failed).best_over_time[-1] == (40.0, 2.4)
    none = state_after(*over(0, Ended(Outcome.HUNG)), state=failed)
    assert none.best_over_time == ()
    resumed = after(NEW, Resumed(failed.finished, ()))
    assert resumed.best_over_time == ()


# --- the one door -----------------------------------------------------------------------------


def test_an_event_that_cannot_happen_is_told_with_those_before_it() -> None:
    history = History(NEW, clock=lambda: 107.0)
    for event in begun(0, A):
        history.apply(event)
    assert history.tick() == 107.0
    with pytest.raises(InvalidTransitionError) as caught:
        history.apply(placed(1, A))
    first, *before = str(caught.value).splitlines()
    assert first.startswith("trial 1 does not wait: TrialPlaced(")
    assert [line.partition("(")[0].strip() for line in before] == [
        "TrialProposed", "TrialPlaced", "TrialStarted",
    ]  # fmt: skip
    assert numbers(history.state) == ([], [0], [])


def test_a_trial_that_waits_goes_on_where_it_was_on_any_slot() -> None:
    """Its rounds are reported again from its checkpoint on; its time is that on slots."""
    state = state_after(*begun(0, A), epoch(A, 1, 2.0), epoch(A, 2, 1.5), Ticked(110.0), pause(A))
    assert numbers(state) == ([], [], []) and list(state.paused) == [0]
    assert state.leading_loss == 1.5
    again = [epoch(B, 1, 9.0), epoch(B, 2, 9.0), epoch(B, 3, 1.0)]
    state = state_after(Ticked(150.0), *resume(0, B), *again, Ticked(155.0), *over(0), state=state)
    [done] = state.final
    assert [one["val_loss"] for one in done.rounds] == [2.0, 1.5, 1.0]
    assert (done.began, done.seconds, done.slot) == (100.0, 15.0, B)
    assert (state.paused, state.running, done.paused) == ({}, {}, "")


def test_a_trial_that_waits_ends_without_a_slot() -> None:
    state = state_after(*begun(0, A), epoch(A, 1, 2.0), Ticked(110.0), pause(A), *begun(1, A))
    pruned = Ended(Outcome.PRUNED, "behind")
    state = state_after(Ticked(190.0), *over(0, pruned), state=state)
    [done] = state.final
    assert (done.ended, done.seconds, done.ranked_loss) == (pruned, 10.0, 2.0)
    assert [one.trial.number for one in state.running.values()] == [1] and not state.paused


def test_those_that_make_room_are_known_in_order_until_they_go_on_or_end() -> None:
    room = state_after(*begun(0, A), pause(A), *begun(1, A), *begun(2, B))
    assert room.preempted == ()
    room = state_after(pause(B, preempted=True), pause(A, preempted=True), state=room)
    assert room.preempted == (2, 1) and list(room.paused) == [0, 2, 1]
    assert state_after(*resume(2, A), state=room).preempted == (1,)
    assert state_after(*over(1), state=room).preempted == (2,)
    again = [replace(one, began=0.0) for one in room.paused.values()]
    assert state_after(Resumed((), (), (), tuple(again))).preempted == (2, 1)


def test_a_trial_has_its_run_wherever_it_is_when_that_is_created() -> None:
    events = [*begun(0, A), *over(0), *begun(1, A), pause(A), *begun(2, A), *begun(3, B)]
    state = state_after(*events, *over(3, LOST), TrialQueuedAgain(3), placed(3, B, 2))
    for number, attempt in ((0, 1), (1, 1), (2, 1), (3, 1), (3, 2)):
        state = after(state, RunCreated(trial(number, attempt), f"run {number} {attempt}"))
    known = [*state.running.values(), *state.paused.values(), *state.finished]
    assert len(known) == 5
    assert all(one.run_id == f"run {one.trial.number} {one.trial.attempt}" for one in known)
    assert [one.run_id for one in state.final] == ["run 0 1"]


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
        RunCreated(trial(waiting.number, chance.choice([1, 2])), f"run-{number}"),
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
    assert state.time_spent.slot_seconds == pytest.approx(state.slot_seconds)


@pytest.mark.parametrize("seed", range(20))
def test_each_order_of_events_that_can_happen_keeps_every_trial_in_one_place(seed: int) -> None:
    chance, state, happened, refused = random.Random(seed), NEW, 0, 0
    for _ in range(400):
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
