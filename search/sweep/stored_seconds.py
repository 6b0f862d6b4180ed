"""For how long a trial has had a slot, from its run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lstm_sweep.search.progress import round_seconds
from lstm_sweep.search.store import trial_end
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.trial_record import TrialRecord

#: states of a run in MLflow that has not ended
OPEN = ("RUNNING", "SCHEDULED")


def waited_seconds(record: TrialRecord) -> float | None:
    """Seconds for which a trial that has waited had slots until then; None for one that has not.

    Raises:
        BadRunError: the tag holds something else.
    """
    return record.tags.seconds(Tag.SECONDS) if Tag.SECONDS in record.tags else None


def slot_seconds(
    run: Any,
    record: TrialRecord,
    rounds: Sequence[Mapping[str, float]],
    before: Sequence[Mapping[str, float]] = (),
) -> float:
    """Seconds for which an attempt of a trial has had slots so far.

    An attempt that is under way, or whose driver died, took as long as its `rounds`, but for those
    that it has from the checkpoint of an earlier attempt, whose rounds are `before`; and at least
    as long as it had when it waited last. How long one that runs has been at its next round is not
    known.

    Raises:
        BadRunError: a tag holds something else.
    """
    waited = waited_seconds(record)
    # one whose driver died has no end of its own, also if its run was closed when the sweep went on
    is_open = run.info.status in OPEN or trial_end.was_lost_with_driver(record.tags)
    if run.info.end_time and not is_open:
        start = run.info.start_time or 0
        return max(0.0, (run.info.end_time - start) / 1000) if waited is None else waited
    own = [one for number, one in enumerate(rounds) if one not in before[number : number + 1]]
    return max(waited or 0.0, math.fsum(round_seconds(own)))
