"""What a sweep writes into the store: names of runs, params, tags, metrics.

A sweep is a parent run, each attempt of a trial a child run. All that is needed to repeat a trial
stands in its own run.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from lstm_sweep.models.baselines import BaselineScore
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.scoring import bits
from lstm_sweep.models.strict_json import json_text
from lstm_sweep.search.policy.stop_reason import Stop
from lstm_sweep.search.spec import Scoring, SweepSpec
from lstm_sweep.search.store.faults import without_secrets
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import TAG_LENGTH, Store
from lstm_sweep.search.trial import (
    Device,
    Ended,
    Phase,
    Trial,
    TrialFiles,
    TrialProgress,
    comparable,
)

if TYPE_CHECKING:
    from lstm_sweep.search.sweep.task import Task
    from lstm_sweep.spaces.template.template import Template

PACKAGES = ("lstm-sweep", "keras", "tensorflow", "numpy")
WEIGHTS = "model"
#: version of what the runs of a sweep hold; those without one have version 0, before `resume`
SCHEMA = 1
#: what a trial's curve is made of, so that a sweep is rebuilt without reading its metrics again
CURVE = ("val_loss", "epoch_seconds")
#: tags that hold the parts of a sweep's spec, each followed by its number
SPEC = "sweep.spec."
#: characters of a long text that go into one tag
CHUNK = 7_500
#: characters of the reason why a trial has ended, at most
LONGEST_REASON = 500
#: bytes of what a trial has printed that are kept, at most
LONGEST_LOG = 1 << 24


def versions() -> dict[str, str]:
    """Versions of all that a trial's bits depend on, and of Python."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def data_tags(source: Source, corpus: Corpus, scoring: Scoring) -> dict[str, str]:
    """Which data a run is task, and on what it is scored."""
    written = {"data": source.data, "symbols": source.symbols, "split": list(source.split)}
    return {
        Tag.DATA: json.dumps(written),
        Tag.CORPUS_DIGEST: corpus.digest,
        Tag.SCORING: json.dumps({"targets": scoring.targets, "seed": scoring.seed}),
        Tag.SCHEMA: str(SCHEMA),
    }


def template_tags(template: Template) -> dict[str, str]:
    """Which template a run is task."""
    written = {"path": str(template.path), "digest": template.digest}
    return {Tag.TEMPLATE: json.dumps(written), Tag.SCHEMA: str(SCHEMA)}


def spec_tags(
    spec: SweepSpec, name: str, before: Mapping[str, str] | None = None
) -> dict[str, str]:
    """A sweep's spec as tags, so that it is there as soon as its run is.

    `before` are the tags that its run has: parts of a longer spec are emptied.
    """
    text = json.dumps(spec.to_dict() | {"name": name})
    parts = [text[begin : begin + CHUNK] for begin in range(0, len(text), CHUNK)]
    emptied = {key: "" for key in before or {} if key.startswith(SPEC)}
    return (
        emptied
        | {f"{SPEC}{number}": part for number, part in enumerate(parts)}
        | {
            Tag.SPEC_DIGEST: spec.digest(),
            Tag.SPACE_DIGEST: spec.space.digest(),
        }
    )


class Journal:
    """Writes the runs of one sweep."""

    def __init__(self, store: Store, run_id: str, task: Task, tags: dict[str, str]) -> None:
        self.store = store
        #: the parent run
        self.run_id = run_id
        self._task = task
        #: what every run of the sweep says of its data and its program
        self._common = tags | {f"version.{name}": text for name, text in versions().items()}

    def describe(self, spec: SweepSpec, name: str, known: frozenset[str] = frozenset()) -> None:
        """Write what the sweep is about; `known` are params that its run has already."""
        written = spec.to_dict() | {"name": name}
        params = {key: value for key, value in written.items() if key != "space"}
        params |= {f"space.{key}": json.dumps(value) for key, value in written["space"].items()}
        if new := {key: value for key, value in params.items() if key not in known}:
            self.store.log(self.run_id, params=new)
        task = self._task
        self.store.log_dataset(self.run_id, name=task.name, digest=task.digest, source=task.source)
        text = yaml.safe_dump(written, sort_keys=False, allow_unicode=True)
        self.store.keep_text(self.run_id, text, "sweep.yaml")

    def log_progress(self, trials: int, best_loss: float | None) -> None:
        """Log how many trials have ended, and the best loss so far, nats."""
        metrics = {"trials_done": float(trials)}
        if best_loss is not None:
            metrics["best_val_loss"] = best_loss
        self.store.log(self.run_id, metrics=metrics, step=trials)

    def close_sweep(self, word: str, why: Stop, seconds: float, note: str) -> None:
        """Log how the sweep ended, let its lease go, and then log its status.

        `note` is shown at the head of the run's page, `seconds` is how long it was driven in all.
        """
        tags = {Tag.STATE: word, Tag.REASON: without_secrets(why.text)[:500]}
        tags[Tag.STOP_REASON] = str(why.reason)
        tags |= {Tag.LEASE: "", Tag.SECONDS: f"{seconds:.3f}", "mlflow.note.content": note}
        self.store.log(self.run_id, tags=tags)
        statuses = {"finished": "FINISHED", "failed": "FAILED"}
        self.store.finish(self.run_id, statuses.get(word, "KILLED"))

    def open_trial(
        self, trial: Trial, device: Device, tags: Mapping[str, str] | None = None
    ) -> str:
        """Create the run of a trial; return its ID."""
        own = {
            Tag.NAME: trial.sweep,
            Tag.TRIAL: str(trial.number),
            Tag.ATTEMPT: str(trial.attempt),
            Tag.PHASE: str(trial.phase),
            Tag.VALS: json.dumps(trial.point),
            Tag.SEED: str(trial.seed),
            Tag.DEVICE: device.kind,
            Tag.CONFIG: json.dumps(trial.config.to_dict()),
        }
        name = trial.id + (f" (attempt {trial.attempt})" if trial.attempt > 1 else "")
        name += " (rerun)" if trial.phase is Phase.RERUN else ""
        return self.store.create_run(name, {**self._common, **own, **(tags or {})}, self.run_id)

    def log_config(self, progress: TrialProgress) -> None:
        """Log what a trial tries, and what is known of it before."""
        config = progress.trial.config
        params = {**config.to_dict(), **self._task.params(config)}
        self.store.log(progress.run_id, params=params)

    def log_epoch(self, progress: TrialProgress) -> None:
        """Log the epoch just done, and the best one so far."""
        self.store.log(progress.run_id, metrics=_epoch_metrics(progress), step=len(progress.epochs))

    def close_trial(self, progress: TrialProgress, files: TrialFiles | None, *, keep: bool) -> None:
        """Store the best network if `keep`, log how the trial ended, and then its status.

        `files` are what the trial has written; None if it has never been started.
        If it ended with an epoch that is not logged yet, that goes into the same call.
        """
        assert progress.ended
        outcome = progress.ended.outcome
        kept: dict[str, str] = {}
        if keep and files:
            kept[Tag.WEIGHTS] = "kept"
            config = json.dumps(progress.trial.config.to_dict(), indent=2)
            self.store.keep_file(progress.run_id, files.weights, WEIGHTS)
            self.store.keep_text(progress.run_id, config, f"{WEIGHTS}/config.json")
            if files.inputs.exists():
                self.store.keep_file(progress.run_id, files.inputs, WEIGHTS)
                kept[Tag.INPUTS] = "kept"
        if outcome.status == "FAILED" and files and files.log.exists():
            self.store.keep_text(progress.run_id, _end_of(files.log), files.log.name)
        reason = written_reason(progress.ended)
        tags = {Tag.OUTCOME: str(outcome), Tag.REASON: reason}
        if progress.ended.unfinished:
            tags[Tag.UNFINISHED] = "yes"
        curve = json_text([[epoch.get(name) for name in CURVE] for epoch in progress.epochs])
        if len(curve) <= TAG_LENGTH:
            tags[Tag.CURVE] = curve
        self.store.log(
            progress.run_id,
            metrics=_epoch_metrics(progress) if progress.unlogged else _result(progress),
            tags=tags | kept,
            step=len(progress.epochs),
        )
        self.store.finish(progress.run_id, outcome.status)

    def drop_weights(self, run_id: str) -> None:
        """Let the network of a trial go that is no longer among the best."""
        self.store.drop_folder(run_id, WEIGHTS)
        self.store.log(run_id, tags={Tag.WEIGHTS: "dropped"})

    def log_baseline(self, score: BaselineScore, run_id: str | None = None) -> None:
        """Log a baseline as a child run: one that was begun, or a new one."""
        tags = {Tag.PHASE: str(Phase.BASELINE), Tag.BASELINE: score.name}
        name = f"{self._common[Tag.NAME]}/{score.name}"
        run_id = run_id or self.store.create_run(name, {**self._common, **tags}, self.run_id)
        loss = score.metrics["loss"]
        self.store.log(
            run_id,
            params={"baseline": score.name, "window": score.model.window}
            | {"smoothing": score.model.smoothing},
            metrics={f"val_{name}": value for name, value in score.metrics.items()}
            | {"best_val_loss": loss, "bits_per_symbol": bits(loss)},
        )
        self.store.finish(run_id, "FINISHED")


def written_reason(ended: Ended) -> str:
    """Why a trial has ended, as its run says it."""
    return without_secrets(ended.reason)[:LONGEST_REASON]


def _end_of(log: Path) -> str:
    """The last that a trial has printed, without secrets."""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LONGEST_LOG))
        return without_secrets(file.read().decode("utf-8", "replace"))


def _epoch_metrics(progress: TrialProgress) -> dict[str, float]:
    found = progress.epochs[-1] | {"epochs_done": float(len(progress.epochs))}
    if progress.best_epoch is not None:
        found["best_epoch"] = float(progress.best_epoch)
    if progress.best_loss is not None:
        found["best_val_loss"] = progress.best_loss
        found["bits_per_symbol"] = bits(progress.best_loss)
    return found


def _result(progress: TrialProgress) -> dict[str, float] | None:
    """What a template has returned, if it can be compared."""
    loss = comparable(progress.ended.loss) if progress.ended else None
    return None if loss is None else {"best_val_loss": loss}
