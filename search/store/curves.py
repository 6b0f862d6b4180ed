"""Reads the rounds of trials back from their runs: times, best losses, confirmations."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lstm_sweep.search.policy.confirmation import confirmed
from lstm_sweep.search.store import journal
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.journal import CURVE
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.tags import MOST_SECONDS, Tag, Tags, is_finite
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.values.sweep import Confirmed
from lstm_sweep.search.values.trial import (
    Phase,
    Trial,
    comparable,
    ranked,
    round_seconds,
)

#: values of a round that are read
NAMES = (*CURVE, "scoring_seconds")


def read_curve(store: Store, record: TrialRecord) -> list[dict[str, float]]:
    """Validation loss and seconds of each round, from the tags or else the metrics."""
    if record.tags.get(Tag.CURVE):
        return written_curve(record)
    columns = [store.history(record.run_id, name) for name in NAMES if record.logged_rounds]
    steps = sorted({step for column in columns for step in column})
    return [_round([column.get(step) for column in columns]) for step in steps]


def written_curve(record: TrialRecord) -> list[dict[str, float]]:
    """The same from the tags alone; seconds of scoring are there if they were measured."""
    tags = record.tags
    rows: list[list[float | None]] = tags.json(Tag.CURVE, list)
    for row in rows:
        known = isinstance(row, list) and len(row) == len(CURVE)
        if not known or not all(isinstance(one, int | float | None) for one in row):
            raise tags.bad(Tag.CURVE, f"{' and '.join(CURVE)} of each round")
    scoring = tags.json(Tag.SCORING_SECONDS, list, json.dumps([None] * len(rows)))
    if len(scoring) != len(rows) or not all(one is None or is_finite(one) for one in scoring):
        raise tags.bad(Tag.SCORING_SECONDS, f"a number for each of {len(rows)} rounds")
    return [_round([*row, seconds]) for row, seconds in zip(rows, scoring, strict=True)]


def _round(row: Sequence[float | None]) -> dict[str, float]:
    """The values of a round by their names: any loss, and times that can be added up."""
    loss, *times = row
    found = {} if loss is None else {NAMES[0]: loss}
    for name, seconds in zip(NAMES[1:], times, strict=True):
        takes_some = seconds or name == "scoring_seconds"
        if (
            seconds is not None
            and takes_some
            and is_finite(seconds)
            and 0 <= seconds <= MOST_SECONDS
        ):
            found[name] = seconds
    return found


#: states of a run in MLflow that has not ended
OPEN = ("RUNNING", "SCHEDULED")


def with_rounds(
    store: Store, record: TrialRecord, before: Sequence[Mapping[str, float]] = ()
) -> TrialRecord:
    """An attempt of a trial with its rounds, and the seconds for which it has had slots so far.

    An attempt that is under way, or whose driver died, took as long as its rounds, but for those
    that it has from the checkpoint of an earlier attempt, whose rounds are `before`; and at least
    as long as it had when it waited last. How long one that runs has been at its next round is not
    known.
    """
    rounds = read_curve(store, record)
    # one whose driver died has no end of its own, also if its run was closed when the sweep went on
    is_open = record.status in OPEN or journal.was_lost_with_driver(record.tags)
    if record.closed_at and not is_open:
        return replace(record, rounds=rounds)
    own = [one for number, one in enumerate(rounds) if one not in before[number : number + 1]]
    waited = record.seconds if record.waited else 0.0
    return replace(record, rounds=rounds, seconds=max(waited, math.fsum(round_seconds(own))))


#: the metric of a sweep's run
LOSS = "best_val_loss"


def best_loss_history(store: Store, run: Any, driven: float) -> tuple[tuple[float, float], ...]:
    """When the best loss of a sweep fell, in seconds for which it was driven, and to what.

    `run` is the sweep's run, whose metric `LOSS` is the lowest loss of all its trials once a round
    has reached it, or, of templates, once a trial has returned it. A time is that since the
    beginning, and at most `driven`, the seconds for which it was driven in all: after the first
    break of a sweep that was resumed it may be too late, since the store does not have when a sweep
    was driven, only for how long.
    """
    has_any = LOSS in run.data.metrics  # else the store is not asked
    logged = store.timeline(run.info.run_id, LOSS) if has_any else ()
    found, last, began = list[tuple[float, float]](), 0.0, began_s(run)
    for at, loss in gains(logged):
        last = max(last, min(at / 1000 - began, driven or math.inf))  # clocks may differ
        found.append((last, loss))
    return tuple(found)


def gains(logged: Iterable[tuple[int, int, float]]) -> list[tuple[int, float]]:
    """When the best loss fell, in ms since 1970, and to what; each loss is below those before.

    `logged` are steps, times in ms and the best losses. One that is followed by a higher one, or by
    none (NaN), was that of a trial which has failed since: it does not count, unless it is reached
    once more, such as by the next attempt of a trial that was broken off. It then counts from the
    first time on.
    """
    known = [(step, at, comparable(loss)) for step, at, loss in logged]
    # by the step first, as MLflow orders them, and within a millisecond as losses fall
    known.sort(key=lambda one: (*one[:2], -math.inf if one[2] is None else -one[2]))
    valid, highest = set[float](), -math.inf
    for _, _, loss in reversed(known):
        if loss is None:
            break
        highest = max(highest, loss)
        valid.add(highest)
    found, best = list[tuple[int, float]](), math.inf
    for _, at, loss in known:
        if loss is not None and loss in valid and loss < best:
            best = loss
            found.append((at, loss))
    return found


def began_s(sweep: Any) -> float:
    """When a sweep began, in seconds since 1970: when it left its queue, or its run was made."""
    left_queue = 0.0
    with contextlib.suppress(BadRunError):
        left_queue = Tags(sweep).seconds(Tag.STARTED)
    return left_queue or (sweep.info.start_time or 0) / 1000


def confirmed_of(store: Store, records: Sequence[TrialRecord]) -> list[Confirmed]:
    """The configs of a sweep's trials that were trained again; `records` are all of them."""
    again = {one.config for one in records if one.phase is Phase.CONFIRM}
    known = dict[int, Trial]()
    for one in (one for one in records if one.config in again):
        with contextlib.suppress(BadRunError):  # one that cannot be read counts as one that goes on
            known[one.number] = with_rounds(store, one)
    best = next(iter(ranked([*records])), None)
    return confirmed(known.values(), best.config if best else None)
