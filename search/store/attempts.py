"""The attempts of a sweep's trials, each with one run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeAlias

from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.trial_record import TrialRecord

#: a run of a trial, and its record
TrialRun: TypeAlias = tuple[Any, TrialRecord]
#: states of a sweep whose trials go on without being asked to, or once it is no longer paused
GOING_ON = ("queued", "running", "paused")


def apart(runs: Iterable[TrialRun]) -> tuple[list[TrialRun], list[TrialRun]]:
    """The runs of attempts, and doubles of them, which no driver has written to.

    A server may carry out a request to create a run after the driver has given it up, and has made
    another one. A run gets its params from the driver, so the double has none.
    """
    every = list(runs)
    used = {
        (record.trial.number, record.trial.attempt): record.run_id
        for _, record in sorted(every, key=lambda one: bool(one[0].data.params))
    }
    own = set(used.values())
    return (
        [one for one in every if one[1].run_id in own],
        [one for one in every if one[1].run_id not in own],
    )


def last_attempts(runs: Iterable[TrialRun], sweep_state: str) -> dict[int, TrialRecord]:
    """The record of the last attempt of each trial, by number.

    While the sweep goes on, or waits to, one that ended with it `waits`.
    """
    records = [record for _, record in apart(runs)[0]]
    records.sort(key=lambda record: (record.trial.number, record.trial.attempt))
    last = {record.trial.number: record for record in records}
    if sweep_state not in GOING_ON:
        return last
    return {
        number: replace(one, waits=one.tags.get(Tag.UNFINISHED) == "yes")
        for number, one in last.items()
    }
