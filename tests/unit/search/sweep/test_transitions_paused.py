"""Trials that wait for a slot, and go on or end."""

from __future__ import annotations

from dataclasses import replace

from lstm_sweep.search.sweep.transitions import Resumed, Ticked
from lstm_sweep.search.trial import Ended, Outcome
from tests.unit.search.sweep.happenings import (
    A,
    B,
    begun,
    epoch,
    numbers,
    over,
    pause,
    resume,
    state_after,
)


def test_a_trial_that_waits_goes_on_where_it_was_on_any_slot() -> None:
    """Its rounds are reported again from its checkpoint on; its time is that on slots."""
    state = state_after(*begun(0, A), epoch(A, 1, 2.0), epoch(A, 2, 1.5), Ticked(110.0), pause(A))
    assert numbers(state) == ([], [], []) and list(state.paused) == [0]
    assert state.leader and state.leader[1] == 1.5
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
