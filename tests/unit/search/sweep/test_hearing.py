from __future__ import annotations

from lstm_sweep.search.engines.base import Event, SlotAdded, SlotLost
from lstm_sweep.search.sweep.inbox import Hearing
from lstm_sweep.search.trial import Ended, Outcome, Progressed, RoundDone, Slot

A, B, C = Slot(0), Slot(1), Slot(2)
ENDED = Ended(Outcome.COMPLETE)


def round_done(number: int) -> RoundDone:
    return RoundDone(number, {})


def test_rounds_are_decided_on_and_ends_are_kept_with_what_comes_after_them() -> None:
    decided: list[tuple[Slot, Event]] = []
    hearing = Hearing(lambda slot, event: decided.append((slot, event)), {A, B}.__contains__)
    lost = SlotLost("gone")
    heard: list[tuple[Slot, Event]] = [
        (A, round_done(1)), (B, Progressed(1, 0.5, 2.0)), (A, ENDED), (A, round_done(2)),
    ]  # fmt: skip
    hearing.meanwhile(heard)
    hearing.meanwhile([(A, lost), (A, round_done(3))])
    assert decided == [(A, round_done(1)), (B, Progressed(1, 0.5, 2.0))]
    assert hearing.kept == {A: [ENDED, round_done(2), lost, round_done(3)]}
    assert hearing.waits and not hearing.next()


def test_slots_do_not_change_while_a_request_is_under_way() -> None:
    decided: list[tuple[Slot, Event]] = []
    hearing = Hearing(lambda slot, event: decided.append((slot, event)), {B}.__contains__)
    lost, added = SlotLost("gone"), SlotAdded()
    hearing.meanwhile([(A, lost), (B, lost), (C, round_done(1))])
    hearing.meanwhile([(A, added), (B, added), (C, round_done(2))])
    assert decided == [(C, round_done(1)), (C, round_done(2))]
    assert hearing.is_changing(A) and hearing.is_changing(B) and not hearing.is_changing(C)
    assert hearing.waits and hearing.kept == {}
    while hearing.next():
        pass
    assert decided[2:] == [(A, lost), (A, added)]  # nothing was on it
    assert hearing.kept == {B: [lost, added]}
    assert not hearing.is_changing(A) and hearing.waits


def test_events_that_come_while_one_is_decided_on_do_not_overtake_those_that_wait() -> None:
    """What decides makes requests between two events, during which there may be others."""
    decided: list[Event] = []
    hearing = Hearing(lambda slot, event: decided.append(event), {A}.__contains__)
    hearing.add([(A, round_done(1)), (A, round_done(2))])
    assert hearing.next()
    hearing.meanwhile([(A, round_done(3))])
    assert decided == [round_done(1), round_done(2), round_done(3)]
