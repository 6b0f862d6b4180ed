"""The state of a sweep, as its store has it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lstm_sweep.search.api.references import store_of_sweep
from lstm_sweep.search.api.sweep_result import BestTrial
from lstm_sweep.search.store import archive
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tags import Tag, Tags
from lstm_sweep.search.sweep import lease
from lstm_sweep.search.sweep.resume import DRIVER_DIED, driven_s
from lstm_sweep.search.trial import Outcome

#: in place of `running` if the sweep's driver has died
BROKEN_OFF = "broken off"


@dataclass(frozen=True, kw_only=True)
class SweepStatusReport:
    """The state of a sweep."""

    sweep: str
    run_id: str
    #: queued, running, paused, finished, failed, stopped, interrupted, or broken off
    state: str
    #: why it is in this state, a sentence; None while it runs
    why: str | None
    #: trials by outcome, and how many are `running`
    trials: Mapping[str, int]
    best: BestTrial | None
    #: trials that can run at once where it is driven, or was; None if an earlier version drove it
    slots: int | None
    #: when it was handed in, and when its driver began
    submitted: datetime
    started: datetime | None
    #: seconds to its end by the pace so far; None unless it runs and has ended a trial
    eta_seconds: float | None

    @property
    def is_under_way(self) -> bool:
        """Whether it may change by itself."""
        return self.state in ("queued", "running", "paused")

    def to_dict(self) -> dict[str, Any]:
        """The sweep as `status --json` prints it; times in ISO 8601, UTC."""
        return {
            "sweep": self.sweep,
            "run_id": self.run_id,
            "state": self.state,
            "why": self.why,
            "trials": dict(self.trials),
            "best": self.best and self.best.to_dict(),
            "slots": self.slots,
            "submitted": self.submitted.isoformat(),
            "started": self.started and self.started.isoformat(),
            "eta_seconds": self.eta_seconds,
        }


def status(name: str, *, settings: Settings) -> SweepStatusReport:
    """The state of a sweep.

    Raises:
        InputError: there is no such sweep, or it cannot be read.
    """
    store = store_of_sweep(name, settings)
    run = archive.existing_sweep(store, name)
    tags, state = Tags(run), _state_of(run)
    records = archive.trials(store, name)
    outcomes = Counter(record.outcome or "running" for record in records)
    if state != "running":  # those that its driver has left open are none of its outcomes
        del outcomes["running"]
    began = datetime.fromtimestamp((run.info.start_time or 0) / 1000, UTC)
    return SweepStatusReport(
        sweep=name,
        run_id=run.info.run_id,
        state=state,
        why=_why(state, tags),
        trials={word: outcomes[word] for word in (*Outcome, "running") if outcomes[word]},
        best=next(
            (best for record in archive.ranked(records) if (best := BestTrial.of(record))), None
        ),
        slots=tags.whole(Tag.SLOTS, 0) if Tag.SLOTS in tags else None,
        submitted=began,
        started=None if state == "queued" else began,
        eta_seconds=_seconds_left(run, outcomes) if state == "running" else None,
    )


def _state_of(run: Any) -> str:
    if run.info.status == "SCHEDULED":
        return "queued"
    state = archive.state_of(Tags(run))
    return BROKEN_OFF if state == "running" and lease.is_left(run.data.tags) else state


def _why(state: str, tags: Tags) -> str | None:
    if state in ("queued", "running"):
        return None
    return DRIVER_DIED if state == BROKEN_OFF else tags.get(Tag.REASON)


def _seconds_left(run: Any, outcomes: Mapping[str, int]) -> float | None:
    """Seconds to the end of a sweep by its pace so far, or to its deadline if that comes first."""
    spec, driven = archive.written_spec(run), driven_s(run)
    left, done = [], sum(outcomes.values()) - outcomes["running"]
    if done and isinstance(spec.get("trials"), int):
        left.append(max(0, spec["trials"] - done) * driven / done)
    if isinstance(spec.get("minutes"), int | float):
        left.append(max(0.0, 60 * spec["minutes"] - driven))
    return min(left, default=None)
