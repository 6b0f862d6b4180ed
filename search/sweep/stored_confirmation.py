"""Reads back which configs of a sweep were trained again, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence

from lstm_sweep.search.policy.confirmed import Confirmed, confirmed
from lstm_sweep.search.progress import TrialSnapshot
from lstm_sweep.search.store import archive
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.store.trial_record import TrialRecord
from lstm_sweep.search.sweep.stored_curve import read_curve
from lstm_sweep.search.trial import Ended, Outcome, Phase, Slot


def confirmed_of(store: Store, records: Sequence[TrialRecord]) -> list[Confirmed]:
    """The configs of a sweep's trials that were trained again; `records` are all of them."""
    again = {one.trial.config for one in records if one.trial.phase is Phase.CONFIRM}
    of_these = (one for one in records if one.trial.config in again)
    known = {one.trial.number: _snapshot_of(store, one) for one in of_these}
    best = next(iter(archive.ranked([*records])), None)
    return confirmed(known, None if best is None else best.trial.config)


def _snapshot_of(store: Store, record: TrialRecord) -> TrialSnapshot:
    """A trial with its learning curve; if that cannot be read, as one that has not ended."""
    goes_on = record.tags.get(Tag.UNFINISHED) == "yes"
    ended = None
    try:
        rounds = read_curve(store, record)
        if record.outcome:
            ended = Ended(Outcome(record.outcome), "", goes_on, record.best_val_loss)
    except BadRunError:
        rounds = []
    return TrialSnapshot(
        record.trial,
        Slot(0),
        rounds=tuple(rounds),
        ended=ended,
        last=False,
        began=0.0,
        seconds=0.0,
    )
