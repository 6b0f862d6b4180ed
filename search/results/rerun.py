"""`rerun`: train a trial again from its run alone, and say whether it came out the same."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lstm_sweep.models.strict_json import plain
from lstm_sweep.search.device import Device
from lstm_sweep.search.engines.base import Engine, SlotAdded, SlotLost
from lstm_sweep.search.process.interrupts import NEVER, Interrupts
from lstm_sweep.search.process.signals import Interrupted
from lstm_sweep.search.store import archive, journal
from lstm_sweep.search.store.journal import Journal
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.store.trial_record import TrialRecord
from lstm_sweep.search.sweep.inbox import TICK_S
from lstm_sweep.search.sweep.preflight import check_stored
from lstm_sweep.search.sweep.tasks import task_kind_of_run
from lstm_sweep.search.sweep.watch import Watch
from lstm_sweep.search.trial import (
    Ended,
    EpochDone,
    Job,
    Message,
    Outcome,
    Phase,
    Progressed,
    TrialFiles,
    TrialProgress,
)

#: relative difference of two metrics up to which a rerun is within tolerance
TOLERANCE = 1e-3

Epochs = Sequence[dict[str, float]]


@dataclass(frozen=True)
class Comparison:
    """What a rerun has in common with the first run."""

    verdict: str
    epochs_compared: int
    #: largest absolute difference of two values of one metric; infinite if one of them is none
    max_difference: float
    first_difference: dict[str, Any] | None


def compare(was: Epochs, now: Epochs, *, cut_short: bool = False) -> Comparison:
    """Compare two courses epoch by epoch, metric by metric.

    `cut_short` says that the first run was ended from outside, so it may have fewer epochs.
    """
    largest, relative, first = 0.0, 0.0, None
    pairs = list(zip(was, now, strict=False))
    for number, (before, after) in enumerate(pairs, start=1):
        for metric in before:
            a, b = before[metric], after.get(metric, math.nan)
            if a == b or (math.isnan(a) and math.isnan(b)):
                continue
            gap = abs(a - b)
            largest = max(largest, gap) if math.isfinite(gap) else math.inf
            relative = max(relative, gap / max(abs(a), 1e-12)) if math.isfinite(gap) else math.inf
            first = first or {"epoch": number, "metric": metric, "was": a, "is": after.get(metric)}
    if len(was) > len(now) or (len(now) > len(was) and not cut_short):
        first = first or {
            "epoch": len(pairs) + 1,
            "metric": "epochs",
            "was": len(was),
            "is": len(now),
        }
        relative = math.inf
    verdict = "different" if relative > TOLERANCE else "within_tolerance" if first else "identical"
    return Comparison(verdict, len(pairs), largest, first)


def changed_versions(record: TrialRecord) -> dict[str, tuple[str, str]]:
    """Packages whose version is not that of the first run: (then, now)."""
    now = journal.versions()
    return {
        name: (record.tags.get(f"{Tag.VERSION}{name}", "unknown"), version)
        for name, version in now.items()
        if record.tags.get(f"{Tag.VERSION}{name}", "unknown") != version
    }


def changed_device(tags: Mapping[str, str], device: Device) -> tuple[str, str] | None:
    """What the first run, with these tags, computed on, and the device now, if they differ."""
    then, now = tags.get(Tag.DEVICE, "unknown"), device.kind
    return (then, now) if then != now else None


@dataclass(frozen=True)
class Rerun:
    """A trial trained again."""

    record: TrialRecord
    run_id: str
    ended: Ended
    comparison: Comparison
    #: fields that were changed on purpose: (then, now)
    variation: dict[str, tuple[Any, Any]]
    versions: dict[str, tuple[str, str]]
    #: if it is another one: (then, now)
    device: tuple[str, str] | None

    def to_dict(self) -> dict[str, Any]:
        """The rerun as `rerun --json` prints it; an infinite difference is null."""
        first = self.comparison.first_difference
        return {
            "trial": self.record.trial.id,
            "rerun_run_id": self.run_id,
            "verdict": self.comparison.verdict,
            "epochs_compared": self.comparison.epochs_compared,
            "max_difference": plain(self.comparison.max_difference),
            "first_difference": first and {name: _told(value) for name, value in first.items()},
            "variation": {k: {"was": a, "is": b} for k, (a, b) in self.variation.items()},
            "changed_versions": {k: {"was": a, "is": b} for k, (a, b) in self.versions.items()},
            "changed_device": self.device and dict(zip(("was", "is"), self.device, strict=True)),
            "outcome": str(self.ended.outcome),
        }


def _told(value: Any) -> Any:
    """A value as JSON can hold it: `nan` and `inf` as text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def rerun(
    store: Store,
    record: TrialRecord,
    engine: Engine,
    changes: Mapping[str, Any],
    file: str | None = None,
    interrupts: Interrupts = NEVER,
) -> Rerun:
    """Train a trial again in a new run, and compare every metric of every epoch.

    `file` is the user's own file that the trial is about, where one was named.

    Raises:
        Interrupted: the user interrupts the rerun.
    """
    first = record.trial
    config = first.config.evolve(**changes)
    variation = {
        name: (was, now)
        for (name, was), now in zip(
            first.config.to_dict().items(), config.to_dict().values(), strict=True
        )
        if was != now
    }
    _check_proposed(store, record, file)
    slot = engine.slots[0]
    device = engine.describe(slot)
    task = task_kind_of_run(record.tags).of_trial(record, config, file, device)
    was = _epochs(store, record)
    trial = replace(first, config=config, phase=Phase.RERUN, attempt=1)
    tags = {Tag.NAME: first.sweep} | task.tags()
    writer = Journal(store, record.tags.text(Tag.PARENT), task.dataset, tags)
    with tempfile.TemporaryDirectory(prefix="lstm-sweep-") as scratch:
        task.save(Path(scratch))
        job = task.job(trial, slot, Path(scratch))
        with interrupts.hold():
            run_id = writer.open_trial(trial, device, {Tag.RERUN_OF: record.run_id})
            progress = TrialProgress(trial, run_id, slot, job)
        again = _Again(engine, writer, progress, None if variation else _cut(record, was))
        try:
            writer.log_config(progress, task.params(config))
            for _ in again.train(job):
                if interrupts.asked:
                    raise Interrupted(interrupts.asked)
        finally:
            with interrupts.hold(to_the_end=True):
                engine.close()
                ended = again.close()
                comparison = _compare(record, was, again.progress)
                store.log(run_id, tags={Tag.VERDICT: comparison.verdict})
    return Rerun(
        record,
        run_id,
        ended,
        comparison,
        variation,
        changed_versions(record),
        changed_device(record.tags, device),
    )


def _check_proposed(store: Store, record: TrialRecord, file: str | None) -> None:
    """Refuse a config that the sweep of a trial cannot have proposed, as far as its spec is known.

    Raises:
        InputError: it cannot have, or its sweep cannot be read.
    """
    parent = store.run(record.tags.text(Tag.PARENT))
    if parent is None:
        raise record.tags.bad(Tag.PARENT, "the ID of the run of its sweep")
    # a rerun of a network may have had other values by `--set`; one of a user's code has none
    others = record.trial.phase is Phase.RERUN or archive.schema_of(record.tags) == 0
    kind = task_kind_of_run(record.tags)
    if kind.runs_user_code or not others:
        check_stored(record, kind.read_spec(parent, record.tags, file).space)


def _cut(record: TrialRecord, was: Epochs) -> tuple[int, Ended] | None:
    """After which epoch the first run was ended from outside, and how; None if it was not."""
    outcome = Outcome(record.outcome) if record.outcome else Outcome.STOPPED
    if record.trial.objective.returned and outcome is Outcome.COMPLETE:
        return None
    if not was or not outcome.ranks or len(was) >= record.trial.config.epochs:
        return None
    return len(was), Ended(outcome, record.reason)


class _Again:
    """A trial that is trained again, and what is known of it; `cut` is where it is stopped."""

    def __init__(
        self,
        engine: Engine,
        writer: Journal,
        progress: TrialProgress,
        cut: tuple[int, Ended] | None,
    ) -> None:
        self.progress = progress
        self._engine, self._writer, self._cut = engine, writer, cut

    def train(self, job: Job) -> Iterator[None]:
        """Train it to its end; yields between two looks at it."""
        began = time.monotonic()
        watch = Watch(began)
        self._engine.start(job)
        self.progress = replace(self.progress, began=began, started=True)
        while not self.progress.ended:
            for _, event in self._engine.wait(TICK_S):
                if isinstance(event, SlotLost):
                    event = Ended(Outcome.LOST, event.reason)
                if not isinstance(event, SlotAdded):
                    watch.receive(self.progress, event, time.monotonic())
                    self._receive(event)
            running = [] if self.progress.ended else [self.progress]
            for hanging, ended in watch.look(running, time.monotonic()):
                self._engine.stop(hanging.slot, ended)
            yield

    def _receive(self, message: Message) -> None:
        if isinstance(message, EpochDone):
            self.progress = self.progress.with_epoch(message)
            if not self.progress.unlogged:
                self._writer.log_epoch(self.progress)
            if self._cut and self._cut[0] == len(self.progress.epochs):
                self._engine.stop(self.progress.slot, self._cut[1])
        elif isinstance(message, Progressed):
            self.progress = replace(self.progress, latest=message)
        elif isinstance(message, Ended):
            self.progress = self.progress.with_end(message, time.monotonic())

    def close(self) -> Ended:
        """Close its run, once the engine is closed; return how it has ended."""
        ended = self.progress.ended or Ended(Outcome.STOPPED, "interrupted")
        self.progress = replace(self.progress, ended=ended)
        files = None
        if self.progress.started:
            files = TrialFiles(folder=self._engine.collect(self.progress.slot))
        keep = files is not None and files.weights.exists()
        self._writer.close_trial(self.progress, files, keep=keep)
        return ended


def _epochs(store: Store, record: TrialRecord) -> Epochs:
    history = {metric: store.history(record.run_id, metric) for metric in record.results}
    steps = sorted({step for values in history.values() for step in values})
    return [
        {metric: values[step] for metric, values in history.items() if step in values}
        for step in steps
    ]


def _compare(record: TrialRecord, was: Epochs, progress: TrialProgress) -> Comparison:
    assert progress.ended
    cut_short = record.status == "KILLED" or _cut(record, was) is not None
    comparison = compare(was, progress.epochs, cut_short=cut_short)
    same_end = record.outcome == progress.ended.outcome
    if progress.ended.outcome is Outcome.ERROR:  # known by the text of the exception alone
        same_end = same_end and record.reason == journal.written_reason(progress.ended)
    failed = record.status == "FAILED" or not progress.ended.outcome.ranks
    nothing = comparison.epochs_compared == 0
    if comparison.verdict != "different" and (failed or nothing) and not same_end:
        difference = {
            "epoch": len(was) + 1,
            "metric": "outcome",
            "was": f"{record.outcome}: {record.reason}",
            "is": f"{progress.ended.outcome}: {progress.ended.reason}",
        }
        return replace(comparison, verdict="different", first_difference=difference)
    if record.trial.objective.returned and record.best_val_loss != progress.best_loss:
        return _with_losses(comparison, record.best_val_loss, progress.best_loss)
    return comparison


def _with_losses(found: Comparison, was: float | None, now: float | None) -> Comparison:
    """What a comparison says if the losses that two trials have returned differ too."""
    a, b = (math.inf if loss is None else loss for loss in (was, now))
    gap = abs(a - b)
    near = (
        math.isfinite(gap)
        and gap <= TOLERANCE * max(abs(a), 1e-12)
        and found.verdict != "different"
    )
    difference = {"epoch": found.epochs_compared, "metric": "loss", "was": was, "is": now}
    return Comparison(
        "within_tolerance" if near else "different",
        found.epochs_compared,
        max(found.max_difference, gap),
        found.first_difference or difference,
    )
