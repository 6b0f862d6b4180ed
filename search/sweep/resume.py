"""Reads an interrupted sweep back from its runs, so that it continues where it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.policy.stop_reason import StopReason
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.store import archive
from lstm_sweep.search.store.archive import TRAINED
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.journal import CURVE, WEIGHTS
from lstm_sweep.search.store.tags import Tag, Tags, is_finite
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.store.trial_record import TrialRecord
from lstm_sweep.search.sweep.claim import OWNS_NAME
from lstm_sweep.search.sweep.lease import Lease, holder
from lstm_sweep.search.sweep.preflight import check_stored
from lstm_sweep.search.trial import (
    Ended,
    Outcome,
    Phase,
    Slot,
    Trial,
    TrialProgress,
)

#: reason of a trial whose driver was killed
DRIVER_DIED = "the program that drove the sweep died"
#: names of metrics before an epoch could have several rounds
EARLIER_NAMES = {"round_seconds": "epoch_seconds"}
#: attempts of a trial whose worker dies each time
ATTEMPTS = 3


@dataclass(frozen=True)
class ResumeState:
    """An interrupted sweep, whose lease this process holds."""

    run_id: str
    lease: Lease
    spec: SweepSpec
    #: names of the params that its run has
    params: frozenset[str]
    #: total time for which it was driven
    seconds: float
    #: all attempts that have ended, in order of their ends
    finished: list[TrialProgress]
    #: next attempts of trials that did not finish, by number
    again: list[Trial]
    #: IDs of runs with stored weights, by trial number
    weights: dict[int, str]
    #: loss of each finished baseline, nats, and run IDs of those that did not finish
    baselines: dict[str, float]
    begun_baselines: dict[str, str]

    @property
    def is_unclaimed(self) -> bool:
        """Whether it was interrupted before it could claim its name."""
        return OWNS_NAME not in self.params and not self.finished and not self.again


def rebuild(store: Store, run: Any, spec: SweepSpec | None = None) -> ResumeState:
    """Take the lease of a sweep that no process drives, read it back, and close its open runs.

    `run` is the sweep's run as it was when the lease was checked, `spec` its spec if it is known. A
    running trial becomes `LOST` unless its outcome has been written.

    Raises:
        InputError: the sweep cannot be read by this version, or another process has driven it
            since `run` was read.
    """
    spec = spec or archive.read_spec(run)
    lease = _take(store, run)
    try:
        with lease.beating(lambda: driven_s(run)):
            return _read(store, run, spec, lease)
    except BadRunError:  # nothing was changed; restore the lease
        store.log(run.info.run_id, tags={Tag.LEASE: run.data.tags.get(Tag.LEASE, "")})
        raise


def _take(store: Store, run: Any) -> Lease:
    """Take the lease of a sweep unless another process has driven it since `run` was read."""
    now = store.tags(run.info.run_id)
    if any(now.get(tag) != run.data.tags.get(tag) for tag in (Tag.LEASE, Tag.SECONDS)):
        who = holder(now) or "another process"
        raise InputError(
            f"sweep '{run.data.tags[Tag.NAME]}': {who} resumed it at the same time, only one can"
        )
    lease = Lease(store, run.info.run_id, driven_s(run))
    lease.take()
    return lease


def _read(store: Store, run: Any, spec: SweepSpec, lease: Lease) -> ResumeState:
    """Read a sweep back whose lease this process holds."""
    seconds = driven_s(run)
    children = store.runs({Tag.PARENT: run.info.run_id})
    found = [child for child in children if child.data.tags.get(Tag.PHASE) in TRAINED]
    records = [(child, _trial_of(child, spec)) for child in found]
    all_progress = _all_progress(store, run, records)
    all_progress.sort(
        key=lambda progress: (progress.began + progress.seconds, progress.trial.number)
    )
    last = {c.trial.number: c for c in sorted(all_progress, key=lambda c: c.trial.attempt)}
    again = [last[number] for number in sorted(last) if goes_on(last[number], all_progress)]
    baselines = [run for run in children if run.data.tags.get(Tag.PHASE) == Phase.BASELINE]
    return ResumeState(
        run_id=run.info.run_id,
        lease=lease,
        spec=spec,
        params=frozenset(run.data.params),
        seconds=seconds,
        finished=[c for c in all_progress if not (c.ended and c.ended.unfinished)],
        again=[progress.trial.next_attempt() for progress in again],
        weights={record.trial.number: record.run_id for _, record in records if record.has_weights},
        baselines=dict(
            archive.read_baseline(run) for run in baselines if run.info.status == "FINISHED"
        ),
        begun_baselines={
            archive.baseline_of(run): run.info.run_id
            for run in baselines
            if run.info.status != "FINISHED"
        },
    )


def _trial_of(run: Any, spec: SweepSpec) -> TrialRecord:
    """The record of a trial, checked against the space of `spec`.

    Raises:
        BadRunError: the search cannot have proposed this trial.
    """
    record = archive.read_trial(run)
    check_stored(record, spec.space)
    if not set(record.trial.point) <= set(spec.space.varying):
        raise record.tags.bad(Tag.VALS, "a number for each hyperparameter that varies")
    if record.trial.rounds_per_epoch != spec.settled_rounds_per_epoch():
        raise record.tags.bad(
            Tag.ROUNDS_PER_EPOCH, f"{spec.settled_rounds_per_epoch()}, as in the sweep's spec"
        )
    return record


def close(store: Store, run: Any, on_skipped: Callable[[BadRunError], None]) -> None:
    """Close the runs of a sweep that no process drives.

    `on_skipped` is called for each trial that stays open, since it cannot be read.
    """
    archive.written_spec(run)
    children = store.runs({Tag.PARENT: run.info.run_id})
    trained = [run for run in children if run.data.tags.get(Tag.PHASE) in TRAINED]
    _all_progress(store, run, archive.readable_trials(trained, on_skipped))
    tags = {Tag.STATE: "stopped", Tag.REASON: DRIVER_DIED, Tag.LEASE: ""}
    tags[Tag.STOP_REASON] = str(StopReason.DRIVER_DIED)
    store.log(run.info.run_id, tags=tags | {Tag.SECONDS: f"{driven_s(run):.3f}"})
    store.drop_tag(run.info.run_id, Tag.STOP)
    store.finish(run.info.run_id, "KILLED")


def goes_on(progress: TrialProgress, attempts: Iterable[TrialProgress]) -> bool:
    """Whether a trial with this last attempt gets another one.

    After `ATTEMPTS` attempts that have killed their worker it does not; attempts that ended with
    their driver do not count.
    """
    assert progress.ended
    if progress.ended.unfinished or progress.ended.outcome is not Outcome.LOST:
        return progress.ended.unfinished
    same = (other for other in attempts if other.trial.number == progress.trial.number)
    killed = (o for o in same if o.ended and o.ended.outcome is Outcome.LOST)
    return sum(not (other.ended and other.ended.unfinished) for other in killed) < ATTEMPTS


def driven_s(run: Any) -> float:
    """Total time for which a sweep was driven."""
    driven = holder(run.data.tags)
    return driven.seconds if driven else Tags(run).seconds(Tag.SECONDS)


def _all_progress(
    store: Store, run: Any, children: Iterable[tuple[Any, TrialRecord]]
) -> list[TrialProgress]:
    """The progress of trials from their runs and records."""
    began, seconds = _start_s(run), driven_s(run)
    return [_progress(store, child, record, began, seconds) for child, record in children]


def _start_s(run: Any) -> float:
    return (run.info.start_time or 0) / 1000


def _progress(
    store: Store, run: Any, record: TrialRecord, began: float, seconds: float
) -> TrialProgress:
    """The progress of a trial from its run, which is closed if it is open."""
    ended = _ended(record)
    curve = _curve(store, record)
    end = run.info.end_time
    if run.info.status in ("RUNNING", "SCHEDULED"):
        end = None
        if record.outcome == "":
            store.drop_folder(run.info.run_id, WEIGHTS)  # stored just before the driver died
            tags = {Tag.OUTCOME: str(ended.outcome), Tag.REASON: ended.reason}
            tags |= {Tag.UNFINISHED: "yes"}
            store.log(run.info.run_id, tags=tags)
        store.finish(run.info.run_id, ended.outcome.status)
    took = max(0.0, end / 1000 - _start_s(run)) if end else sum(_seconds(curve))
    return TrialProgress(
        record.trial,
        record.run_id,
        Slot(0),
        job=None,
        rounds=curve,
        ended=ended,
        # time in which no process drove the sweep does not count
        began=min(_start_s(run) - began, max(0.0, seconds - took)),
        seconds=took,
    )


def _ended(record: TrialRecord) -> Ended:
    if record.outcome == "":
        return Ended(Outcome.LOST, DRIVER_DIED, unfinished=True)
    unfinished = record.tags.get(Tag.UNFINISHED) == "yes"
    own = record.best_val_loss if record.trial.objective.returned else None
    return Ended(Outcome(record.outcome), record.reason, unfinished, own)


def _curve(store: Store, record: TrialRecord) -> list[dict[str, float]]:
    """Validation loss and seconds of each round, from the tag or else the metrics."""
    if record.tags.get(Tag.CURVE):
        rows = [zip(CURVE, values, strict=True) for values in _written_curve(record.tags)]
    elif record.epochs:
        columns = [_column(store, record, name) for name in CURVE]
        steps = sorted({step for column in columns for step in column})
        rows = [zip(CURVE, [column.get(step) for column in columns], strict=True) for step in steps]
    else:
        return []
    return [
        {name: value for name, value in row if value is not None and _counts(name, value)}
        for row in rows
    ]


def _column(store: Store, record: TrialRecord, name: str) -> dict[int, float]:
    """A metric of a trial by round, also under the name that it had when rounds were epochs."""
    earlier = EARLIER_NAMES.get(name)
    known = store.history(record.run_id, name)
    return known if known or not earlier else store.history(record.run_id, earlier)


def _counts(name: str, value: float) -> bool:
    """Whether a value of a round is taken: a loss may be no number, but times are added up."""
    return name != "round_seconds" or (is_finite(value) and value > 0)


def _written_curve(tags: Tags) -> list[list[float | None]]:
    """The values of `CURVE` for each round in the tag of a run."""
    found: list[list[float | None]] = tags.json(Tag.CURVE, list)
    for values in found:
        known = isinstance(values, list) and len(values) == len(CURVE)
        if not known or not all(isinstance(one, int | float | None) for one in values):
            raise tags.bad(Tag.CURVE, f"{' and '.join(CURVE)} of each round")
    return found


def _seconds(curve: list[dict[str, float]]) -> list[float]:
    return [one["round_seconds"] for one in curve if "round_seconds" in one]
