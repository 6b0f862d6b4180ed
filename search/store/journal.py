"""Writes a sweep and its trials into the store: runs with their names, params, tags and metrics.

A sweep is a parent run, and each attempt of a trial is a child run. The run of a trial contains all
that is needed to repeat the trial.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import yaml

from lstm_sweep.models.baselines import BaselineScore
from lstm_sweep.models.scoring import bits
from lstm_sweep.models.strict_json import json_text
from lstm_sweep.search.device import Device
from lstm_sweep.search.policy.stop_reason import Stop
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import TAG_LENGTH, Store
from lstm_sweep.search.trial import Ended, Phase, Trial, TrialFiles, TrialProgress, comparable

PACKAGES = ("lstm-sweep", "keras", "tensorflow", "numpy")
WEIGHTS = "model"
#: version of the layout of a sweep's runs; version 0, without a tag, cannot be resumed
SCHEMA = 1
#: values of each round in the tag `Tag.CURVE`, from which a sweep is resumed
CURVE = ("val_loss", "round_seconds")
#: characters of a part of the spec in one tag
CHUNK = 7_500
#: characters of the longest reason
LONGEST_REASON = 500
#: bytes of a trial's output that are kept
LONGEST_LOG = 1 << 24


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that the bits of a trial depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def spec_tags(
    spec: SweepSpec, name: str, before: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The spec of a sweep as tags, which are written at the creation of its run.

    `before` are the tags of an existing run: parts of a longer spec are overwritten with "".
    """
    text = json.dumps(spec.to_dict() | {"name": name})
    parts = [text[begin : begin + CHUNK] for begin in range(0, len(text), CHUNK)]
    emptied = {key: "" for key in before or {} if key.startswith(Tag.SPEC)}
    return (
        emptied
        | {f"{Tag.SPEC}{number}": part for number, part in enumerate(parts)}
        | {
            Tag.SPEC_DIGEST: spec.digest(),
            Tag.SPACE_DIGEST: spec.space.digest(),
        }
    )


@dataclass(frozen=True)
class Dataset:
    """What the runs of a sweep are about."""

    name: str
    #: its fingerprint
    digest: str
    #: path of its files, or name of a sample
    source: str


class Journal:
    """Writes the runs of one sweep."""

    def __init__(self, store: Store, run_id: str, dataset: Dataset, tags: dict[str, str]) -> None:
        self.store = store
        #: the parent run
        self.run_id = run_id
        self._dataset = dataset
        #: tags that all runs of the sweep have: data, versions
        self._common = tags | {f"{Tag.VERSION}{name}": text for name, text in versions().items()}

    def describe(self, spec: SweepSpec, name: str, known: frozenset[str] = frozenset()) -> None:
        """Write the spec and the data of the sweep; params in `known` are already written."""
        written = spec.to_dict() | {"name": name}
        params = {key: value for key, value in written.items() if key != "space"}
        params |= {f"space.{key}": json.dumps(value) for key, value in written["space"].items()}
        if new := {key: value for key, value in params.items() if key not in known}:
            self.store.log(self.run_id, params=new)
        self.store.log_dataset(self.run_id, **asdict(self._dataset))
        text = yaml.safe_dump(written, sort_keys=False, allow_unicode=True)
        self.store.keep_text(self.run_id, text, "sweep.yaml")

    def log_progress(self, trials: int, best_loss: float | None) -> None:
        """Log the number of trials that have ended, and the best loss so far, nats."""
        metrics = {"trials_done": float(trials)}
        if best_loss is not None:
            metrics["best_val_loss"] = best_loss
        self.store.log(self.run_id, metrics=metrics, step=trials)

    def close_sweep(self, word: str, why: Stop, seconds: float, note: str) -> None:
        """Log how the sweep ended and release its lease, and then log its status.

        `note` is shown at the top of the run's page in the MLflow UI, `seconds` is the total time
        for which the sweep was driven.
        """
        tags = {Tag.STATE: word, Tag.REASON: without_secrets(why.text)[:500]}
        tags[Tag.STOP_REASON] = str(why.reason)
        tags |= {Tag.LEASE: "", Tag.SECONDS: f"{seconds:.3f}", Tag.NOTE: note}
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
        if trial.rounds_per_epoch > 1:
            own[Tag.ROUNDS_PER_EPOCH] = str(trial.rounds_per_epoch)
        name = trial.id + (f" (attempt {trial.attempt})" if trial.attempt > 1 else "")
        name += " (rerun)" if trial.phase is Phase.RERUN else ""
        return self.store.create_run(name, {**self._common, **own, **(tags or {})}, self.run_id)

    def log_config(self, progress: TrialProgress, known: Mapping[str, int | float]) -> None:
        """Log the config of a trial, and what is `known` of its network before it is trained."""
        params = {**progress.trial.config.to_dict(), **known}
        self.store.log(progress.run_id, params=params)

    def log_round(self, progress: TrialProgress) -> None:
        """Log the last round, and the best one so far."""
        self.store.log(progress.run_id, metrics=_round_metrics(progress), step=len(progress.rounds))

    def close_trial(self, progress: TrialProgress, files: TrialFiles | None, *, keep: bool) -> None:
        """Store the best network if `keep`, log the outcome, and then the status.

        `files` are what the trial has written; None if it has never been started.
        A last round that is not logged yet is part of the same request.
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
        curve = json_text([[one.get(name) for name in CURVE] for one in progress.rounds])
        if len(curve) <= TAG_LENGTH:
            tags[Tag.CURVE] = curve
        self.store.log(
            progress.run_id,
            metrics=_round_metrics(progress) if progress.unlogged else _result(progress),
            tags=tags | kept,
            step=len(progress.rounds),
        )
        self.store.finish(progress.run_id, outcome.status)

    def drop_weights(self, run_id: str) -> None:
        """Delete the network of a trial that is no longer among the best."""
        self.store.drop_folder(run_id, WEIGHTS)
        self.store.log(run_id, tags={Tag.WEIGHTS: "dropped"})

    def log_baseline(self, score: BaselineScore, run_id: str | None = None) -> None:
        """Log a baseline as a child run: `run_id` if it was begun before, or a new one."""
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
    """Why a trial has ended, without secrets and cut to `LONGEST_REASON`."""
    return without_secrets(ended.reason)[:LONGEST_REASON]


def _end_of(log: Path) -> str:
    """The last `LONGEST_LOG` bytes of a trial's output, without secrets."""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LONGEST_LOG))
        return without_secrets(file.read().decode("utf-8", "replace"))


def _round_metrics(progress: TrialProgress) -> dict[str, float]:
    trial = progress.trial
    done = float(trial.epochs_after(len(progress.rounds)))
    found = progress.rounds[-1] | {"epochs_done": done}
    if progress.best_round is not None:
        found["best_epoch"] = float(trial.epochs_after(progress.best_round))
    if progress.best_loss is not None:
        found["best_val_loss"] = progress.best_loss
    in_bits = progress.trial.objective.bits_per_symbol(progress.best_loss)
    if in_bits is not None:
        found["bits_per_symbol"] = in_bits
    return found


def _result(progress: TrialProgress) -> dict[str, float] | None:
    """The loss that a trial has returned, as a metric; None without a finite loss."""
    loss = comparable(progress.ended.loss) if progress.ended else None
    return None if loss is None else {"best_val_loss": loss}
