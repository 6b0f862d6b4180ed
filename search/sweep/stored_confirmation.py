"""Reads back which configs of a sweep were trained again, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence

from lstm_sweep.search.policy.confirmed import Confirmed, confirmed
from lstm_sweep.search.progress import TrialSnapshot
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.store.trial_record import TrialRecord
from lstm_sweep.search.sweep.stored_curve import read_curve
from lstm_sweep.search.trial import Ended, Outcome, Phase, Slot


def confirmed_of(store: Store, records: Sequence[TrialRecord]) -> list[Confirmed]:
    """The configs of a sweep's trials that were trained again."""
    again = {one.trial.config for one in records if one.trial.phase is Phase.CONFIRM}
    of_these = (one for one in records if one.trial.config in again)
    return confirmed({one.trial.number: _snapshot_of(store, one) for one in of_these})


def _snapshot_of(store: Store, record: TrialRecord) -> TrialSnapshot:
    """A trial that has ended, with its learning curve; without one if that cannot be read."""
    loss = record.best_val_loss
    try:
        rounds = read_curve(store, record)
    except BadRunError:
        rounds = []
    return TrialSnapshot(
        record.trial,
        Slot(0),
        rounds=tuple(rounds),
        ended=Ended(Outcome(record.outcome), loss=loss) if record.outcome else None,
        last=False,
        began=0.0,
        seconds=0.0,
    )
