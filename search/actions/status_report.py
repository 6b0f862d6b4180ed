"""The state of a sweep, as its store has it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from typing_extensions import override

from lstm_sweep.search.actions.references import Here, store_of_sweep
from lstm_sweep.search.actions.sweep_result import BestTrial
from lstm_sweep.search.driver import lease
from lstm_sweep.search.driver.resume import expected_left
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.journal import DRIVER_DIED
from lstm_sweep.search.store.tags import MOST_SECONDS, Tag, Tags
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.values.documents import Document
from lstm_sweep.search.values.progress import ranked
from lstm_sweep.search.values.trial import Outcome

#: in place of `running` if the sweep's driver has died
BROKEN_OFF = lease.BROKEN_OFF
#: what trials are counted as that have not ended
OPEN = ("running", "paused")
#: seconds between two looks at a sweep that is followed
FOLLOW_S = 2.0


@dataclass(frozen=True, kw_only=True)
class SweepStatusReport(Document):
    """The state of a sweep."""

    sweep: str
    run_id: str
    #: queued, running, paused, finished, failed, stopped, interrupted, or broken off
    state: str
    #: why it is in this state, a sentence; None while it runs
    why: str | None
    #: trials by outcome, and how many are `running`, and `paused`
    trials: Mapping[str, int]
    #: trial with the lowest loss; while the sweep runs, also by the rounds of a trial that runs
    best: BestTrial | None
    #: trials that can run at once where it is driven, or was; None if none has driven it yet
    slots: int | None
    #: when it was handed in, and when its driver began
    submitted: datetime
    started: datetime | None
    #: seconds to its end as its driver expects it; None unless it runs, or if nobody can tell
    eta_seconds: float | None

    @property
    def is_under_way(self) -> bool:
        """Whether it may change by itself."""
        return self.state in ("queued", "running", "paused")

    @override
    def to_dict(self) -> dict[str, Any]:
        """The sweep as `status --json` prints it; times in ISO 8601, UTC."""
        return self.document()


def status(here: Here, name: str) -> SweepStatusReport:
    """The state of a sweep.

    Raises:
        InputError: there is no such sweep, or it cannot be read.
    """
    return _report(store_of_sweep(name, here.settings), name)


def follow(here: Here, name: str, every_s: float = FOLLOW_S) -> Iterator[SweepStatusReport]:
    """The state of a sweep, and again every `every_s` seconds for as long as it is under way.

    Raises:
        InputError: there is no such sweep, it cannot be read, or the store does not answer at the
            beginning.
        StoreError: the store has failed later.
    """
    store = store_of_sweep(name, here.settings)
    while True:
        report = _report(store, name)
        yield report
        if not report.is_under_way:
            return
        time.sleep(every_s)


def _report(store: Store, name: str) -> SweepStatusReport:
    run = reader.existing_sweep(store, name)
    tags, state = Tags(run), lease.state_of(run)
    records = reader.trials(store, name)
    # those that a driver which does not run has left open are none of its outcomes
    counted = [one for one in records if one.outcome or state == "running"]
    outcomes = Counter(one.state for one in counted)
    began_s = min(max(0.0, (run.info.start_time or 0) / 1000), MOST_SECONDS)
    began = datetime.fromtimestamp(began_s, UTC)
    ended = sum(outcomes.values()) - sum(outcomes[word] for word in OPEN)
    return SweepStatusReport(
        sweep=name,
        run_id=run.info.run_id,
        state=state,
        why=why_of(state, tags),
        trials={word: outcomes[word] for word in (*Outcome, *OPEN) if outcomes[word]},
        best=BestTrial.of(ranked(records, of_running=state == "running")),
        slots=tags.whole(Tag.SLOTS, 0) if Tag.SLOTS in tags else None,
        submitted=_time(tags, Tag.SUBMITTED) or began,
        started=_started(tags, began),
        eta_seconds=(
            expected_left(run, reader.written_spec(run), ended) if state == "running" else None
        ),
    )


def _time(tags: Tags, name: str) -> datetime | None:
    return datetime.fromtimestamp(tags.seconds(name), UTC) if tags.get(name) else None


def _started(tags: Tags, began: datetime) -> datetime | None:
    """When its first driver began; None if it has only waited in a queue."""
    return _time(tags, Tag.STARTED) if Tag.SUBMITTED in tags else began


def why_of(state: str, tags: Mapping[str, str]) -> str | None:
    """Why a sweep with these tags is in a state, a sentence; None if nothing says it."""
    if state in ("queued", "running"):
        return tags.get(Tag.WAITS) or None
    return DRIVER_DIED if state == BROKEN_OFF else tags.get(Tag.REASON)
