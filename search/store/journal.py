"""Writes a sweep, a parent run, and the attempts of its trials, child runs, into the store."""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import shutil
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from lstm_sweep.models.baselines import BaselineScore
from lstm_sweep.models.documents import json_text
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.tags import Tag, device_tags
from lstm_sweep.search.store.tracking import TAG_LENGTH, now_ms
from lstm_sweep.search.store.writer import Write, Writer
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.sweep import Stop, SweepStatus
from lstm_sweep.search.values.trial import (
    Attempt,
    Device,
    Ended,
    Objective,
    Phase,
    Trial,
    TrialFiles,
    comparable,
)

PACKAGES = ("lstm-sweep", "keras", "tensorflow", "numpy")


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


#: values of each round in the tag `Tag.CURVE`, from which a sweep is resumed
CURVE = ("val_loss", "round_seconds")
#: reason of a trial whose driver was killed, for people
DRIVER_DIED = "the program that drove the sweep died"
#: characters of the longest reason
LONGEST_REASON = 500
#: bytes of a trial's output that are kept
LONGEST_LOG = 1 << 24


def written_reason(ended: Ended) -> str:
    return without_secrets(ended.reason)[:LONGEST_REASON]


def end_tags(progress: Trial, ended: Ended) -> dict[str, str]:
    """How a trial has ended, and its rounds, from which a sweep is resumed."""
    tags: dict[str, str] = {Tag.OUTCOME: str(ended.outcome), Tag.REASON: written_reason(ended)}
    if ended.unfinished:
        tags[Tag.UNFINISHED] = "yes"
    if progress.waited:
        tags[Tag.SECONDS] = f"{progress.seconds:.3f}"
        if not ended.unfinished:
            tags[Tag.PAUSED] = ""
    texts = {Tag.CURVE: json_text([[one.get(name) for name in CURVE] for one in progress.rounds])}
    scoring = [one.get("scoring_seconds") for one in progress.rounds]
    if any(scoring):
        measured = [None if seconds is None else round(seconds, 3) for seconds in scoring]
        texts[Tag.SCORING_SECONDS] = json_text(measured)
    return tags | {name: text for name, text in texts.items() if len(text) <= TAG_LENGTH}


def lost_with_driver(ended: Ended) -> dict[str, str]:
    tags = {Tag.OUTCOME: str(ended.outcome), Tag.REASON: ended.reason}
    return tags | dict.fromkeys((Tag.UNFINISHED, Tag.DRIVER_DIED), "yes")


def was_lost_with_driver(tags: Mapping[str, str]) -> bool:
    return tags.get(Tag.DRIVER_DIED) == "yes"


def end_of(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LONGEST_LOG))
        return without_secrets(file.read().decode("utf-8", "replace"))


def round_metrics(progress: Trial) -> dict[str, float]:
    best, in_bits = progress.best_loss, progress.objective.bits_per_symbol(progress.best_loss)
    after = {"epochs_done": len(progress.rounds), "best_epoch": progress.best_round}
    so_far = {"best_val_loss": best, "bits_per_symbol": in_bits}
    return (
        progress.rounds[-1]
        | {name: float(progress.epochs_after(n)) for name, n in after.items() if n is not None}
        | {name: value for name, value in so_far.items() if value is not None}
    )


WEIGHTS = "model"
#: beginning of the name of a metric of a sweep that is the loss of a baseline
BASELINE = "baseline_"
#: version of the layout of a sweep's runs; those of another are refused
FORMAT = 1
#: characters of a part of the spec in one tag
CHUNK = 7_500


def spec_tags(
    spec: SweepSpec, name: str, before: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The spec of a sweep as tags, which are written at the creation of its run.

    `before` are the tags of an existing run: parts of a longer spec are overwritten with "".
    """
    text = json.dumps(spec.to_dict() | {"name": name})
    tags = {key: "" for key in before or {} if key.startswith(Tag.SPEC)}
    for number, begin in enumerate(range(0, len(text), CHUNK)):
        tags[f"{Tag.SPEC}{number}"] = text[begin : begin + CHUNK]
    return tags | {Tag.SPEC_DIGEST: spec.digest(), Tag.SPACE_DIGEST: spec.space.digest()}


@dataclass(frozen=True)
class Dataset:
    """What the runs of a sweep are about."""

    name: str
    #: its fingerprint
    digest: str
    #: path of its files, or name of a sample
    source: str


@dataclass
class _Run:
    """A run, and what waits to be logged there."""

    #: empty if it has none, or none yet
    run_id: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    #: metrics of rounds
    steps: dict[int, dict[str, float]] = field(default_factory=dict)
    #: whether a write waits that logs these, and when the last of them were measured
    is_queued: bool = False
    at_ms: int = 0
    #: whether its end waits, with which these are logged once an end of the sweep is wanted
    is_ending: bool = False
    #: whether it was begun or ended here, and its end is not written yet
    is_open: bool = False


class Journal:
    """Writes the runs of one sweep by a `Writer`, in the order in which its methods are called.

    Rounds of a trial that wait are logged in one request, with its params or its end if these wait.
    """

    def __init__(
        self,
        writer: Writer,
        run_id: str,
        dataset: Dataset,
        tags: dict[str, str],
        step: int | None = None,
        created: Callable[[Trial, str], None] = lambda trial, run_id: None,
    ) -> None:
        """`step` is the last of the sweep's metrics; `created` is told the run of each trial."""
        self.writer, self._store = writer, writer.store
        #: the parent run
        self.run_id, self._sweep = run_id, _Run(run_id)
        self._dataset, self._created = dataset, created
        self._step = step or 0
        #: the best loss that was logged last; NaN if it is to be logged whatever it is
        self._best_loss = None if step is None else math.nan
        #: when the last run was created: runs are listed in the order of these times
        self._created_ms = 0
        self._runs = defaultdict[Attempt, _Run](_Run)
        #: tags that all runs of the sweep have: data, versions
        self._common = tags | {f"{Tag.VERSION}{name}": text for name, text in versions().items()}

    @property
    def unclosed(self) -> set[Attempt]:
        return {attempt for attempt, run in self._runs.items() if run.is_open}

    def run_of(self, trial: Trial) -> str:
        """The run of an attempt; empty if it has none."""
        return self._runs[trial.key].run_id

    def know(self, runs: Mapping[Attempt, str]) -> None:
        for attempt, run_id in runs.items():
            self._runs[attempt].run_id = run_id

    def describe(self, spec: SweepSpec, name: str, known: frozenset[str] = frozenset()) -> None:
        """Write the spec and the data of the sweep; params in `known` are already written."""
        params = spec.to_dict() | {"name": name}
        params |= {f"space.{key}": json.dumps(at) for key, at in params.pop("space").items()}
        new = {key: value for key, value in params.items() if key not in known}
        own = spec.file_content() | {"name": name}
        text = yaml.safe_dump(own, sort_keys=False, allow_unicode=True)

        def write() -> None:
            if new:
                self._store.log(self.run_id, params=new)
            self._store.log_dataset(self.run_id, **asdict(self._dataset))
            self._store.keep_text(self.run_id, text, "sweep.yaml")

        self.writer.put(write)

    def log_tags(self, tags: Mapping[str, str]) -> None:
        self.writer.put(partial(self._store.log, self.run_id, tags=dict(tags)))

    def log_progress(self, trials: int, best_loss: float | None) -> None:
        """Log the number of trials that have ended, and the best loss so far, nats.

        Without one, NaN takes the place of that of a trial that was the best and has failed. MLflow
        takes the value with the largest step as the latest, so that never falls.
        """
        metrics = {"trials_done": float(trials)}
        if best_loss is not None or self._best_loss is not None:
            metrics["best_val_loss"] = math.nan if best_loss is None else best_loss
        self._step, self._best_loss = max(self._step, trials), best_loss
        self._sweep.steps[self._step] = metrics
        self._log_soon(self._sweep)

    def close_sweep(
        self,
        state: SweepStatus,
        why: Stop,
        seconds: float,
        note: str,
        more: Mapping[str, str],
        *,
        has_result: bool,
    ) -> None:
        """Log how the sweep ended and release its lease, and then log its status.

        `note` is shown at the top of the run's page in the MLflow UI, `seconds` is the total time
        for which the sweep was driven, and `more` are further tags.
        """
        tags: dict[str, str] = {
            Tag.STATE: str(state),
            Tag.REASON: without_secrets(why.text)[:LONGEST_REASON],
            Tag.STOP_REASON: str(why.reason),
            Tag.LEASE: "",
            Tag.SECONDS: f"{seconds:.3f}",
            Tag.NOTE: note,
        }

        def close() -> None:
            self.writer.regularly(None)
            self._store.log(self.run_id, tags=tags | dict(more))
            if state is SweepStatus.PAUSED:
                self._store.reopen(self.run_id, "SCHEDULED")
            else:
                self._store.finish(self.run_id, state.run_status(has_result=has_result))

        self.writer.put(close)

    def open_trial(
        self,
        trial: Trial,
        device: Device,
        known: Mapping[str, int | float],
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Create the run of a trial, and log its config and what is `known` of its network."""
        own = {
            Tag.NAME: trial.sweep,
            Tag.TRIAL: trial.number,
            Tag.ATTEMPT: trial.attempt,
            Tag.PHASE: trial.phase,
            Tag.VALS: json.dumps(trial.point),
            Tag.SEED: trial.seed,
            Tag.CONFIG: json.dumps(trial.config.to_dict()),
            Tag.ROUNDS_PER_EPOCH: trial.rounds_per_epoch if trial.rounds_per_epoch > 1 else None,
            Tag.STEPS: trial.steps,
            Tag.MOST_ROUNDS: trial.most_rounds,
        }
        written = {name: str(value) for name, value in own.items() if value is not None}
        name = trial.id + (f" (attempt {trial.attempt})" if trial.attempt > 1 else "")
        name += " (rerun)" if trial.phase is Phase.RERUN else ""
        run = self._runs[trial.key]
        run.is_open, run.params = True, {**trial.config.to_dict(), **known}
        self._create(
            run,
            name,
            {**written, **device_tags(device), **(tags or {})},
            lambda: self._created(trial, run.run_id),
        )
        self._log_soon(run)

    def _create(
        self,
        run: _Run,
        name: str,
        tags: Mapping[str, str],
        created: Callable[[], None] = lambda: None,
    ) -> None:
        """Create a child run, once, however often an answer is lost."""
        own = {**self._common, **tags, Tag.CREATION: uuid.uuid4().hex}
        self._created_ms = at_ms = max(self._created_ms + 1, now_ms())

        def write() -> None:
            run.run_id = self._store.create_run(name, own, self.run_id, at_ms)
            self.writer.tell(created)

        self.writer.put(write)

    def log_round(self, progress: Trial, *, soon: bool = True) -> None:
        """Log the last round: not `soon`, with the next one, or when the trial waits or ends."""
        run = self._runs[progress.key]
        run.steps[len(progress.rounds)] = round_metrics(progress)
        if soon:
            self._log_soon(run)

    def _log_soon(self, run: _Run) -> None:
        """Let what waits of a run be logged, unless a write waits that does it."""
        run.at_ms = now_ms()
        if run.is_queued:
            return
        run.is_queued = True

        def write() -> None:
            run.is_queued = False
            if not (run.is_ending and self.writer.interrupts.signal_number):
                self._log(run, run.at_ms)

        self._put(run, write)

    def _put(self, run: _Run, write: Write, *, is_end: bool = False) -> None:
        """Let something be written into a run, if that could be created."""

        def with_run() -> None:
            if run.run_id:
                write()

        self.writer.put(with_run, beside=is_end)

    def _log(self, run: _Run, at_ms: int, tags: Mapping[str, str] | None = None) -> None:
        """Log what waits of a run with tags; these come last if that takes several requests."""
        params, run.params = run.params, {}
        steps = {number: run.steps.pop(number) for number in sorted(run.steps)}
        if not (steps or params or tags):
            return
        try:
            self._store.log(run.run_id, steps=steps, params=params, tags=tags, at_ms=at_ms)
        except BaseException as error:
            for number, metrics in steps.items():
                run.steps.setdefault(number, metrics)
            if isinstance(error, StoreError):  # else they are what the store refuses
                run.params = params
            raise

    def pause_trial(self, progress: Trial) -> None:
        tags = {_wait_tag(progress): progress.paused, Tag.SECONDS: f"{progress.seconds:.3f}"}
        self._change(progress, tags)

    def wait_again(self, progress: Trial) -> None:
        """Log that a trial which was paused when its sweep was broken off still waits."""
        ended = (Tag.OUTCOME, Tag.REASON, Tag.CURVE, Tag.DRIVER_DIED, Tag.UNFINISHED)
        self._change(progress, dict.fromkeys(ended, "") | {Tag.PAUSED: progress.paused})

    def resume_trial(self, progress: Trial, device: Device) -> None:
        self._change(progress, {_wait_tag(progress): "", **device_tags(device)}, "RUNNING")

    def _change(self, trial: Trial, tags: Mapping[str, str], status: str = "SCHEDULED") -> None:
        run, at_ms = self._runs[trial.key], now_ms()

        def write() -> None:
            self._log(run, at_ms, tags)
            self._store.reopen(run.run_id, status)

        self._put(run, write)

    def close_trial(
        self,
        progress: Trial,
        files: TrialFiles | None,
        *,
        keep: bool,
        remove: Path | None = None,
        more: Mapping[str, str] | None = None,
    ) -> None:
        """Store the best network if `keep`, log the outcome, and then the status.

        `files` are what the trial has written; None if it has never been started. `more` are
        further tags, `remove` is a folder that is needed until then.
        """
        ended, run = progress.ended, self._runs[progress.key]
        assert ended
        if progress.unlogged:
            result = round_metrics(progress)
        else:
            loss = comparable(ended.loss)
            result = {} if loss is None else {"best_val_loss": loss}
        tags = end_tags(progress, ended) | dict(more or {})
        status = ended.outcome.status(has_result=progress.best_loss is not None)
        # the next attempt writes to the same file
        failed = not ended.outcome.ranks and files and files.log.exists()
        log, at_ms = end_of(files.log) if failed and files else "", now_ms()

        def write() -> None:
            kept = self._keep_weights(run, progress, files) if keep and files else {}
            if log and files:
                self._store.keep_text(run.run_id, log, files.log.name)
            if result:
                last = len(progress.rounds)
                run.steps[last] = run.steps.get(last, {}) | result
            self._log(run, at_ms, tags | kept)
            self._store.finish(run.run_id, status, at_ms)
            run.is_open = run.is_ending = False
            if remove:
                shutil.rmtree(remove, ignore_errors=True)

        run.is_open = run.is_ending = True
        self._put(run, write, is_end=True)

    def _keep_weights(self, run: _Run, progress: Trial, files: TrialFiles) -> dict[str, str]:
        """Store the best network of a trial, if there is time for it; the tags that say so."""
        if self.writer.is_short_of_time:
            return {}
        kept: dict[str, str] = {Tag.WEIGHTS: "kept"}
        config = json.dumps(progress.config.to_dict(), indent=2)
        try:
            self._store.keep_file(run.run_id, files.weights, WEIGHTS)
            self._store.keep_text(run.run_id, config, f"{WEIGHTS}/config.json")
            if files.inputs.exists():
                self._store.keep_file(run.run_id, files.inputs, WEIGHTS)
                kept[Tag.INPUTS] = "kept"
        except StoreError:
            if not self.writer.interrupts.signal_number:
                raise
            return {}  # there was no time for it, but may be for the end of the trial
        return kept

    def drop_weights(self, attempt: Attempt) -> None:
        run = self._runs[attempt]

        def write() -> None:
            self._store.drop_folder(run.run_id, WEIGHTS)
            self._store.log(run.run_id, tags={Tag.WEIGHTS: "dropped"})

        self._put(run, write)

    def log_baseline(
        self, score: BaselineScore, objective: Objective, run_id: str | None = None
    ) -> None:
        run, loss, at_ms = _Run(run_id or ""), score.metrics["loss"], now_ms()
        params = {"baseline": score.name, **asdict(score.model)}
        metrics = {f"val_{name}": value for name, value in score.metrics.items()}
        metrics["best_val_loss"] = loss
        if (in_bits := objective.bits_per_symbol(loss)) is not None:
            metrics["bits_per_symbol"] = in_bits
        if not run_id:
            tags = {Tag.PHASE: str(Phase.BASELINE), Tag.BASELINE: score.name}
            self._create(run, f"{self._common[Tag.NAME]}/{score.name}", tags)

        def write() -> None:
            self._store.log(run.run_id, params=params, metrics=metrics, at_ms=at_ms)
            # beside the best loss of the sweep, so that a list of sweeps needs no other run
            self._store.log(self.run_id, metrics={f"{BASELINE}{score.name}": loss}, at_ms=at_ms)
            self._store.finish(run.run_id, "FINISHED", at_ms)

        self._put(run, write)


def _wait_tag(trial: Trial) -> str:
    return Tag.MAKES_ROOM if trial.preempted else Tag.PAUSED
