"""Reads back when the best loss of a sweep fell, and to what."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable
from typing import Any

from lstm_sweep.search.progress import comparable
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.tags import Tag, Tags
from lstm_sweep.search.store.tracking import Store

#: the metric of a sweep's run
LOSS = "best_val_loss"


def read_gains(store: Store, run: Any, driven: float) -> tuple[tuple[float, float], ...]:
    """When the best loss of a sweep fell, as of `driven_at`, and to what; both in order.

    `run` is the sweep's run, `driven` the seconds for which it was driven. These are the values of
    its own metric `LOSS`: the lowest loss of all its trials, those of the ladder and those
    that confirm others among them, logged once a round has reached it, or, of templates, once a
    trial has returned it. Empty if there is none yet.
    """
    has_any = LOSS in run.data.metrics  # else the store is not asked
    logged = store.timeline(run.info.run_id, LOSS) if has_any else ()
    found, last = list[tuple[float, float]](), 0.0
    for at, loss in gains(logged):
        last = max(last, driven_at(at / 1000, run, driven))  # clocks of two machines may differ
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
    counting = list[float]()
    for _, _, loss in known:
        while counting and (loss is None or counting[-1] < loss):
            counting.pop()
        if loss is not None and loss not in counting[-1:]:
            counting.append(loss)
    found, best, valid = list[tuple[int, float]](), math.inf, set(counting)
    for _, at, loss in known:
        if loss is not None and loss in valid and loss < best:
            best = loss
            found.append((at, loss))
    return found


def driven_at(at: float, sweep: Any, driven: float) -> float:
    """Seconds for which a sweep had been driven at a time, in seconds since 1970.

    They are the time since it began, and `driven` at most, the seconds for which it was driven in
    all. So a time is right for a sweep of one sitting, and before the first break of one that was
    resumed; after that it may be too late, since the store does not have when a sweep was driven,
    only for how long.
    """
    return min(max(0.0, at - began_s(sweep)), driven or math.inf)


def began_s(sweep: Any) -> float:
    """When a sweep began, in seconds since 1970: when it left its queue, or its run was made."""
    with contextlib.suppress(BadRunError):
        if left_queue := Tags(sweep).seconds(Tag.STARTED):
            return left_queue
    return (sweep.info.start_time or 0) / 1000
