"""`rerun`: train a trial again from its run alone, and say whether it came out the same."""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from lstm_sweep.models.config import FIELDS
from lstm_sweep.models.errors import InputError, cut, shown
from lstm_sweep.models.network.checkpoint import keep_reported
from lstm_sweep.models.rounds import Progressed, RoundDone, epochs_after
from lstm_sweep.search.actions.references import Here, store_of_trial
from lstm_sweep.search.actions.sweeps import details_of
from lstm_sweep.search.driver.health import Watch
from lstm_sweep.search.driver.lease import Lease, holder
from lstm_sweep.search.driver.loop import TICK_S
from lstm_sweep.search.driver.lstm_task import check_stored
from lstm_sweep.search.driver.state import SILENT, Observer, Viewer
from lstm_sweep.search.driver.tasks import task_kind_of_run
from lstm_sweep.search.engines import open_engine
from lstm_sweep.search.engines.base import Engine, Event, SlotAdded, SlotLost, devices
from lstm_sweep.search.process.signals import Interrupted, Interrupts
from lstm_sweep.search.store import journal, reader
from lstm_sweep.search.store.faults import StoreError, reason
from lstm_sweep.search.store.journal import Journal, versions
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.store.writer import Writer
from lstm_sweep.search.values.documents import Document
from lstm_sweep.search.values.trial import Ended, Job, Outcome, Phase, Trial, TrialFiles
from lstm_sweep.spaces.dimension import ByCorpus, Listed
from lstm_sweep.spaces.space import parse_dimension, space_of

#: relative difference of two metrics up to which a rerun is within tolerance
TOLERANCE = 1e-3
#: outcomes of a trial that was ended from outside, and of one that has failed by itself
FROM_OUTSIDE = (Outcome.OUT_OF_TIME, Outcome.STOPPED, Outcome.LOST)
FAILURES = [one for one in Outcome if not one.ranks and one is not Outcome.LOST]

#: metrics of each round of a trial
Rounds = Sequence[dict[str, float]]
#: in a comparison, what something was, and what it is now
Change: TypeAlias = Mapping[str, Any]
#: two values that differ: the epoch, of what they are, what was and what is
Pair: TypeAlias = tuple[float, str, Any, Any]


@dataclass(frozen=True)
class Rerun(Document):
    """What has come out when a trial was trained again."""

    #: ID of the trial
    trial: str
    #: ID of the new run in MLflow
    rerun_run_id: str
    #: `identical`, `within_tolerance` or `different`
    verdict: str
    #: epochs that both runs have
    epochs_compared: float
    #: largest absolute difference of two values of a metric; None if one of them is no number
    max_difference: float | None
    #: `epoch`, `metric`, `was` and `is` of the first difference; None without one
    first_difference: Mapping[str, Any] | None
    #: fields that were changed on purpose: `was` and `is`
    variation: Mapping[str, Mapping[str, Any]]
    #: packages with another version than then: `was` and `is`
    changed_versions: Mapping[str, Mapping[str, Any]]
    #: kind of device, if it is another one: `was` and `is`
    changed_device: Mapping[str, Any] | None
    #: how it has ended
    outcome: str

    @property
    def is_different(self) -> bool:
        """Whether the trial has come out otherwise, although nothing was changed on purpose."""
        return self.verdict == "different" and not self.variation


def rerun(
    here: Here,
    reference: str,
    changes: Mapping[str, Any] | None = None,
    on: str = "local",
    template: str | None = None,
    observer: Observer = SILENT,
    interrupts: Interrupts | None = None,
) -> Rerun:
    """Train a trial again in a new run, and compare every metric of every round.

    `changes` are other values of fields of its config, which make a variation. `template` is the
    path of the user's own file, if the trial is about one. While it is trained, a store that does
    not answer is waited for.

    Raises:
        Interrupted: `interrupts` says that an end is wanted.
    """
    changes = {} if changes is None else changes
    if not (isinstance(changes, Mapping) and all(isinstance(name, str) for name in changes)):
        raise InputError(f"--set is {shown(changes)}: expected a mapping of fields to values")
    with open_engine(on, workers=1) as engine:
        store = store_of_trial(reference, here.settings)
        record = reader.find_trial(store, reference)
        task_kind_of_run(record.tags).check_rerun(record, changes, template, devices(engine))
        return train_again(store, record, engine, changes, template, observer, interrupts)


def train_again(
    store: Store,
    record: TrialRecord,
    engine: Engine,
    changes: Mapping[str, Any],
    file: str | None = None,
    observer: Observer = SILENT,
    interrupts: Interrupts | None = None,
) -> Rerun:
    """Train a trial again on an engine; `file` is the user's own that it is about, if named."""
    first = record.planned()
    config = first.config.evolve(**changes)
    variation = _changes(first.config.to_dict(), config.to_dict())
    _check_proposed(store, record, file)
    if not engine.slots:
        raise InputError("found no slot that is free on any node, expected one")
    slot = engine.slots[0]
    device = engine.describe(slot)
    task = task_kind_of_run(record.tags).of_trial(record, config, file, device)
    was = details_of(store, record).rounds
    _check_comparable(record, was, variation)
    observer.said(f"training {first.id} again (run {record.run_id})")
    close_left_open(store, record)
    trial = replace(first, config=config, phase=Phase.RERUN, attempt=1)
    if variation:
        trial = replace(trial, steps=None, most_rounds=None)
    tags = {Tag.NAME: first.sweep} | task.tags()
    viewer = Viewer(observer)
    writer = Writer(store, interrupts or Interrupts(), viewer.said)
    journal = Journal(writer, record.tags.text(Tag.PARENT), task.dataset, tags)
    lease = Lease(store, "")
    with tempfile.TemporaryDirectory(prefix="lstm-sweep-") as scratch:
        folder = Path(scratch)
        task.save(folder)
        job = Job(trial=trial, slot=slot, folder=folder / "trial", training=task.training(folder))
        again = _Again(
            record=record, was=was, engine=engine, journal=journal, viewer=viewer,
            cut=None if variation else _cut(record, was), trial=replace(trial, slot=slot),
        )  # fmt: skip
        try:
            own = {Tag.RERUN_OF: record.run_id} | lease.tag
            journal.open_trial(trial, device, task.params(config), own)
            comparison = again.run(job)
        finally:
            writer.close()
            lease.release()
    now = versions()
    then = {name: record.tags.get(f"{Tag.VERSION}{name}", "unknown") for name in now}
    was_on = {"device": record.tags.get(Tag.DEVICE, "unknown")}
    return Rerun(
        trial=first.id,
        rerun_run_id=journal.run_of(again.trial),
        **vars(comparison),
        variation=variation,
        changed_versions=_changes(then, now),
        changed_device=_changes(was_on, {"device": device.kind}).get("device"),
        outcome=str(again.trial.outcome),
    )


def _check_comparable(record: TrialRecord, was: Rounds, variation: Mapping[str, Change]) -> None:
    if record.outcome == Outcome.PRUNED and not (was or variation):
        raise InputError(
            f"trial '{record.id}' was pruned before its first round: expected one with a "
            f"round to compare with, or --set FIELD=VALUE to train a variation"
        )


def _changes(was: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Change]:
    return {k: {"was": was[k], "is": now[k]} for k in was if was[k] != now[k]}


def close_left_open(store: Store, record: TrialRecord) -> None:
    """Close the runs of reruns of a trial's sweep whose process has ended without closing them."""
    parent = record.tags.text(Tag.PARENT)
    for run in store.runs({Tag.PARENT: parent, Tag.PHASE: Phase.RERUN}):
        run_id, driver = run.info.run_id, holder(run.data.tags)
        if run.info.status != "RUNNING" or driver is None or not driver.is_gone:
            continue
        outcome = next((one for one in Outcome if one == run.data.tags.get(Tag.OUTCOME)), None)
        if outcome is None:
            outcome, why = Outcome.LOST, "its process ended without closing it"
            store.log(run_id, tags={Tag.OUTCOME: str(outcome), Tag.REASON: why})
        has_result = "best_val_loss" in run.data.metrics
        store.finish(run_id, outcome.status(has_result=has_result))


def _check_proposed(store: Store, record: TrialRecord, file: str | None) -> None:
    """Refuse a config that the sweep of a trial cannot have proposed, as far as that is known."""
    parent = store.run(record.tags.text(Tag.PARENT))
    if parent is None:
        raise record.tags.bad(Tag.PARENT, "the ID of the run of its sweep")
    kind = task_kind_of_run(record.tags)
    # a rerun of a network may have had other values by `--set`; one of a user's code has none
    if kind.runs_user_code or record.phase is not Phase.RERUN:
        check_stored(record, kind.read_spec(parent, record.tags, file).space)


def _cut(record: TrialRecord, was: Rounds) -> tuple[int, Ended] | None:
    """After which round the first run was ended from outside, and how; None if it was not."""
    outcome = Outcome(record.outcome) if record.outcome else Outcome.STOPPED
    by_itself = record.objective.returned or record.steps is not None
    if by_itself and outcome is Outcome.COMPLETE:
        return None
    if not was or not outcome.ranks or len(was) >= record.planned_rounds:
        return None
    return len(was), Ended(outcome, record.reason)


@dataclass(kw_only=True)
class _Again:
    """A trial that is trained again, and its new run."""

    record: TrialRecord
    #: rounds of the first run
    was: Rounds
    engine: Engine
    journal: Journal
    viewer: Viewer
    #: after which round it is to be ended, and how, since the first run was; None: at its end
    cut: tuple[int, Ended] | None
    trial: Trial
    started: bool = False

    def __post_init__(self) -> None:
        self._interrupts, self._watch = self.journal.writer.interrupts, Watch(time.monotonic())

    def run(self, job: Job) -> Comparison:
        """Train it to its end, and close its run."""
        try:
            self.journal.writer.drain()
            self._train(job)
        except BaseException as error:
            why = "interrupted" if isinstance(error, KeyboardInterrupt) else reason(error)
            with contextlib.suppress(StoreError):  # the first error is raised
                self._close(Ended(Outcome.STOPPED, why))
            raise
        try:
            return self._close(self.trial.ended)
        except StoreError as fault:
            if number := self._interrupts.signal_number:
                raise Interrupted(number) from fault
            raise

    def _train(self, job: Job) -> None:
        """Train the trial of a job to its end; a slot that others have is waited for."""
        said = ""
        self.engine.demand(1)
        while not self.trial.ended and (why := self.engine.reserve(job.slot)):
            if why != said:
                self.viewer.said(f"waiting for a slot: {why}")
            said = why
            self._receive_events()
        self.trial = replace(self.trial, began=time.monotonic())
        self._watch = Watch(self.trial.began)
        if not self.trial.ended:
            self.engine.start(job)
            self.started = True
        while not self.trial.ended:
            self._receive_events()
            running = [] if self.trial.ended else [self.trial]
            for hanging, ended in self._watch.look(running, time.monotonic()):
                self.engine.stop(hanging.slot, ended)

    def _receive_events(self) -> None:
        if number := self._interrupts.signal_number:
            raise Interrupted(number)
        events = self.engine.wait(TICK_S)
        with self._interrupts.hold():
            for slot, event in events:
                if slot == self.trial.slot and not self.trial.ended:
                    self._receive(event)
            self.journal.writer.look()

    def _receive(self, event: Event) -> None:
        if isinstance(event, SlotAdded):
            return
        message = Ended(Outcome.LOST, event.reason) if isinstance(event, SlotLost) else event
        self._watch.receive(self.trial, message, time.monotonic())
        if isinstance(message, RoundDone):
            self.trial = self.trial.with_round(message)
            if self.cut and self.cut[0] == len(self.trial.rounds):
                self.engine.stop(self.trial.slot, self.cut[1])
            if not self.trial.unlogged:
                self.journal.log_round(self.trial)
        elif isinstance(message, Progressed):
            self.trial = replace(self.trial, latest=message)
        elif isinstance(message, Ended):
            self.trial = self.trial.with_end(message, time.monotonic())

    def _close(self, ended: Ended | None) -> Comparison:
        """Close the engine and the run; `ended` is how the trial has ended unless it is known."""
        writer, files = self.journal.writer, None
        with self._interrupts.hold(to_the_end=True):
            self.engine.close()
            self.trial = replace(self.trial, ended=self.trial.ended or ended)
            comparison = _compare(self.record, self.was, self.trial)
            try:
                writer.again()
                if self.started:
                    files = TrialFiles(folder=self.engine.collect(self.trial.slot))
                    keep_reported(files.weights, len(self.trial.rounds))
                keep = files is not None and files.weights.exists()
                more = {Tag.VERDICT: comparison.verdict}
                self.journal.close_trial(self.trial, files, keep=keep, more=more)
                writer.drain()
            except StoreError as fault:
                writer.close()
                run = f"run {self.journal.run_of(self.trial)} was left open"
                self.viewer.said(f"{run}, and is closed by the next rerun: {fault}")
                raise
            return comparison


@dataclass(frozen=True)
class Comparison:
    """What a rerun has in common with the first run, as `Rerun` says it."""

    verdict: str
    epochs_compared: float
    max_difference: float | None
    first_difference: Change | None


def compare(
    was: Rounds,
    now: Rounds,
    *,
    cut_short: bool = False,
    rounds_per_epoch: int = 1,
    returned: tuple[float | None, float | None] = (None, None),
) -> Comparison:
    """Compare two runs of a trial round by round, metric by metric, and the losses they returned.

    `cut_short` says that the first run was ended from outside, so it may have fewer rounds. What
    only one of them has, None in the other, is no number to measure a difference by.
    """
    compared = min(len(was), len(now))
    epochs = [epochs_after(number, rounds_per_epoch) for number in (compared, len(was), len(now))]
    values: list[Pair] = [
        (epochs_after(number, rounds_per_epoch), metric, value, after.get(metric))
        for number, (before, after) in enumerate(zip(was, now, strict=False), start=1)
        for metric, value in before.items()
        if _differ(value, after.get(metric))
    ]
    lengths: list[Pair] = [
        (epochs_after(compared + 1, rounds_per_epoch), "epochs", epochs[1], epochs[2])
    ]
    if len(was) == len(now) or (len(was) < len(now) and cut_short):
        lengths = []
    results: list[Pair] = [(epochs[0], "loss", *returned)] if _differ(*returned) else []
    gaps = [(a, math.inf if None in (a, b) else abs(a - b)) for *_, a, b in (*values, *results)]
    measured = all(math.isfinite(gap) for _, gap in gaps)
    near = measured and all(gap <= TOLERANCE * max(abs(a), 1e-12) for a, gap in gaps)
    first = [*values, *lengths, *results][:1]
    return Comparison(
        "different" if lengths or not near else "within_tolerance" if first else "identical",
        epochs[0],
        max((gap for _, gap in gaps), default=0.0) if measured else None,
        _difference(*first[0]) if first else None,
    )


def _differ(was: float | None, now: float | None) -> bool:
    is_nan = [value is not None and math.isnan(value) for value in (was, now)]
    return was != now and not all(is_nan)


def _difference(epoch: float, metric: str, *values: Any) -> Change:
    """A difference as JSON can hold it: `nan` and `inf` as text."""
    was, now = (
        str(one) if isinstance(one, float) and not math.isfinite(one) else one for one in values
    )
    return {"epoch": epoch, "metric": metric, "was": was, "is": now}


def _compare(record: TrialRecord, was: Rounds, now: Trial) -> Comparison:
    assert now.ended
    outcome, ended = record.outcome, now.ended
    same_end = outcome == ended.outcome
    if ended.outcome is Outcome.ERROR:  # known by the text of the exception alone
        same_end = same_end and record.reason == journal.written_reason(ended)
    nothing = not (was and now.rounds)
    other_end = not same_end and (outcome in FAILURES or not ended.outcome.ranks or nothing)
    has_result = record.objective.returned and not other_end
    found = compare(
        was,
        now.rounds,
        cut_short=outcome in FROM_OUTSIDE or _cut(record, was) is not None,
        rounds_per_epoch=record.rounds_per_epoch,
        returned=(record.best_loss, now.best_loss) if has_result else (None, None),
    )
    if not other_end or found.verdict == "different":
        return found
    ends = f"{outcome}: {record.reason}", f"{ended.outcome}: {ended.reason}"
    difference = _difference(record.epochs_after(len(was) + 1), "outcome", *ends)
    return replace(found, verdict="different", first_difference=difference)


def field_changes(settings: Iterable[str]) -> dict[str, Any]:
    """The fields and values of `FIELD=VALUE`, each with one value."""
    changes = dict[str, Any]()
    for setting in settings:
        name, equals, value = setting.partition("=")
        where = f"--set {cut(setting)}"
        if not equals:
            raise InputError(f"{where}: expected FIELD=VALUE; fields: {', '.join(FIELDS)}")
        of = space_of([name])
        dimension = parse_dimension(name, value, where, of)
        if isinstance(dimension, ByCorpus):
            raise InputError(f"{where}: expected {of.points_are.limits[name]}")
        if not isinstance(dimension, Listed) or len(dimension.options) != 1:
            raise InputError(f"{where}: found several values, expected one")
        changes[name] = dimension.options[0]
    return changes
