"""What happens to trials of a sweep, as events."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.rounds import Progressed, RoundDone
from lstm_sweep.search.driver.read_back import stored_time
from lstm_sweep.search.driver.state import (
    SweepState,
    progress_reported,
    round_reported,
    run_created,
    slot_came,
    slot_gone,
    time_passed,
    trial_ended,
    trial_paused,
    trial_proposed,
    trial_started,
    with_attempts,
)
from lstm_sweep.search.store.tags import Tag, Tags
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.sweep import SHARES, TimeSpent
from lstm_sweep.search.values.trial import Ended, Outcome, Paused, Phase, Slot, Trial

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


@pytest.mark.parametrize(
    "expected, deadline, now, left",
    [
        (None, None, 10.0, None),
        (None, 60.0, 10.0, 50.0),
        (None, 60.0, 70.0, 0.0),
        (40.0, None, 10.0, 30.0),
        (40.0, 35.0, 10.0, 25.0),
        (40.0, 60.0, 10.0, 30.0),
        (40.0, None, 50.0, 0.0),
    ],
)
def test_what_is_left_is_to_the_expected_end_or_to_the_deadline(
    expected: float | None, deadline: float | None, now: float, left: float | None
) -> None:
    state = replace(NEW, expected_end=expected, deadline=deadline, now=now)
    assert state.seconds_left == left


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
    assert state.leader and state.leader.best_loss == 1.5
    more = [epoch(B, 1, 9.0), epoch(B, 2, 9.0), epoch(B, 3, 1.0)]
    state = state_after(
        (time_passed, 150.0), started(0, B), *more, (time_passed, 155.0), over(0), state=state
    )
    [done] = state.final
    assert [one["val_loss"] for one in done.rounds] == [2.0, 1.5, 1.0]
    assert (done.began, done.seconds, done.slot) == (100.0, 15.0, B)
    assert (state.paused, state.running, done.paused) == ({}, {}, "")


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
    assert losses[-1:] == ([state.leader.best_loss] if state.leader else [])
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


# What the slots of a sweep were used for


def attempt(
    number: int,
    seconds: float,
    outcome: Outcome | None = Outcome.COMPLETE,
    *,
    phase: Phase = Phase.SEARCH,
    scoring: tuple[float | None, ...] = (),
    loss: float = 2.0,
    unfinished: bool = False,
    attempt: int = 1,
) -> Trial:
    """An attempt of a trial; its rounds say how long scoring took, if they say so."""
    rounds = [
        {"val_loss": loss} | ({} if one is None else {"scoring_seconds": one}) for one in scoring
    ]
    ended = Ended(outcome, unfinished=unfinished) if outcome else None
    return Trial(
        sweep="s", number=number, config=TrialConfig(), seed=0, phase=phase, attempt=attempt,
        rounds=rounds, ended=ended, seconds=seconds,
    )  # fmt: skip


def spent_by(*finished: Trial, unfinished: tuple[Trial, ...] = (), **changes: Any) -> TimeSpent:
    """Where the time of a sweep with these attempts went; it had slots for 100 seconds."""
    given: dict[str, Any] = {"slot_seconds": 100.0, "unfinished": unfinished} | changes
    new = SweepState(name="s", spec=SweepSpec(), slots=(A, B), **given)
    return with_attempts(new, finished).time_spent


def shares(spent: TimeSpent) -> dict[str, float]:
    """Those that are not 0."""
    found = {name: getattr(spent, name) for name in SHARES}
    assert sum(found.values()) == pytest.approx(spent.slot_seconds)
    return {name: seconds for name, seconds in found.items() if seconds}


@pytest.mark.parametrize(
    ("phase", "outcome", "share"),
    [
        (Phase.LADDER, Outcome.COMPLETE, "ladder"),
        (Phase.LADDER, Outcome.STOPPED, "ladder"),
        (Phase.LADDER, Outcome.DIVERGED, "ladder"),
        (Phase.LADDER, Outcome.ERROR, "failures"),
        (Phase.SEARCH, Outcome.COMPLETE, "beaten"),
        (Phase.SEARCH, Outcome.PRUNED, "cut_short"),
        (Phase.SEARCH, Outcome.STOPPED, "cut_short"),
        (Phase.SEARCH, Outcome.DIVERGED, "failures"),
        (Phase.SEARCH, Outcome.OUT_OF_MEMORY, "failures"),
        (Phase.SEARCH, Outcome.HUNG, "failures"),
        (Phase.SEARCH, Outcome.ERROR, "failures"),
        (Phase.SEARCH, Outcome.LOST, "failures"),
        (Phase.CONFIRM, Outcome.COMPLETE, "confirmation"),
        (Phase.CONFIRM, Outcome.STOPPED, "confirmation"),
        (Phase.CONFIRM, Outcome.DIVERGED, "failures"),
    ],
)
def test_each_attempt_belongs_to_one_share(phase: Phase, outcome: Outcome, share: str) -> None:
    best = attempt(0, 30.0, scoring=(1.0,), loss=1.0)
    spent = spent_by(best, attempt(1, 25.0, outcome, phase=phase, scoring=(1.0,)))
    assert shares(spent) == {"best": 30.0, share: 25.0, "idle": 45.0}


def test_an_attempt_that_a_driver_left_unfinished_belongs_to_its_trial() -> None:
    left = attempt(0, 10.0, Outcome.LOST, unfinished=True)
    left_again = attempt(0, 10.0, Outcome.STOPPED, unfinished=True, attempt=2)
    for outcome, share in (
        (Outcome.COMPLETE, "beaten"), (Outcome.PRUNED, "cut_short"), (Outcome.ERROR, "failures"),
    ):  # fmt: skip
        done = attempt(0, 5.0, outcome, attempt=3)
        spent = spent_by(done, unfinished=(left, left_again))
        assert shares(spent) == {share: 25.0, "idle": 75.0}


def test_shares_of_the_time_are_told_in_per_cent_without_those_that_are_none() -> None:
    spent = TimeSpent(slot_seconds=50.0, best=20.0, failures=10.0, idle=20.0, scoring=3.0)
    assert str(spent) == "40 % the best trial, 20 % failures, 40 % idle (of all, 6 % scoring)"
    assert str(TimeSpent()) == ""


ENDLESS = json.dumps(dict.fromkeys(TimeSpent().to_dict(), 1e308))


@pytest.mark.parametrize("text", ["{}", "[]", '{"slot_seconds": "1"}', "NaN", ENDLESS])
def test_a_tag_that_says_something_else_says_nothing(text: str) -> None:
    assert stored_time(Tags.of("r", {Tag.TIME: text})) is None


def test_the_best_trial_has_all_its_attempts() -> None:
    lost = attempt(1, 5.0, Outcome.LOST)
    best = attempt(1, 7.0, scoring=(1.0,), loss=1.0, attempt=2, phase=Phase.CONFIRM)
    assert shares(spent_by(lost, attempt(0, 8.0), best)) == {
        "best": 12.0,
        "beaten": 8.0,
        "idle": 80.0,
    }


def test_a_round_that_is_taken_from_a_checkpoint_is_scored_once() -> None:
    lost = attempt(0, 10.0, Outcome.LOST, scoring=(1.0, 0.5, 0.5))
    again = attempt(0, 10.0, scoring=(1.0001, 0.5, 0.625), attempt=2)  # the third one anew
    assert spent_by(lost, again).scoring == 2.625
