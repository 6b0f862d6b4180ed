from __future__ import annotations

from lstm_sweep.search.engines.base import Event, SlotAdded, SlotLost
from lstm_sweep.search.sweep.hearing import Hearing
from lstm_sweep.search.trial import Ended, Outcome, Progressed, RoundDone, Slot

A, B = Slot(0), Slot(1)
ENDED = Ended(Outcome.COMPLETE)


def round_done(number: int) -> RoundDone:
    return RoundDone(number, {})


def test_rounds_are_decided_on_and_what_takes_longer_is_kept_with_what_comes_after_it() -> None:
    decided: list[tuple[Slot, Event]] = []
    hearing = Hearing(lambda slot, event: decided.append((slot, event)))
    lost, added = SlotLost("gone"), SlotAdded()
    hearing.all(
        [
            (A, round_done(1)),
            (B, Progressed(1, 0.5, 2.0)),
            (A, ENDED),
            (A, round_done(2)),
            (B, lost),
        ]
    )
    hearing.all([(B, added), (A, round_done(3))])
    assert decided == [(A, round_done(1)), (B, Progressed(1, 0.5, 2.0))]
    assert hearing.kept == {A: [ENDED, round_done(2), round_done(3)], B: [lost, added]}
    assert not hearing.next()


def test_events_that_come_while_one_is_decided_on_do_not_overtake_those_that_wait() -> None:
    """What decides makes requests between two events, during which there may be others."""
    decided: list[Event] = []
    hearing = Hearing(lambda slot, event: decided.append(event))
    hearing.add([(A, round_done(1)), (A, round_done(2))])
    assert hearing.next()
    hearing.all([(A, round_done(3))])
    assert decided == [round_done(1), round_done(2), round_done(3)]
