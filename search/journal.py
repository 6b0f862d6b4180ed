"""What a sweep writes into the store and how it is read back: names of runs, params, tags, metrics.

A sweep is a parent run, each attempt of a trial a child run. All that is needed to repeat a trial
stands in its own run.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from models.baselines import BaselineScore
from models.config import FIELDS, TrialConfig
from models.corpus import Corpus
from models.errors import InputError
from models.scoring import bits
from models.size import parameters
from models.source import Source
from search.faults import without_secrets
from search.spec import NAME, Scoring, SweepSpec, digest_of
from search.tracking import TAG_LENGTH, Store
from search.trial import Course, Outcome, Phase, Slot, Trial, TrialRecord

PACKAGES = ("lstm-sweep", "keras", "tensorflow", "numpy")
#: metrics of an epoch that depend on the trial alone, not on the machine's speed
RESULTS = ("train_loss", "val_loss", "val_accuracy", "val_top5_accuracy")
WEIGHTS = "model"
#: version of what the runs of a sweep hold; those without one have version 0, before `resume`
SCHEMA = 1
SCHEMA_TAG = "sweep.schema"
#: what a trial's curve is made of, so that a sweep is rebuilt without reading its metrics again
CURVE = ("val_loss", "epoch_seconds")
#: characters of a long text that go into one tag
CHUNK = 7_500
#: phases of the runs that are a sweep's own trials
TRAINED = (Phase.LADDER, Phase.SEARCH, Phase.CONFIRM)
#: characters of a run ID that name it, at least
SHORTEST_PREFIX = 4


def versions() -> dict[str, str]:
    """Versions of all that a trial's bits depend on, and of Python."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def device_kind(slot: Slot) -> str:
    """What a slot computes on, in words."""
    if slot.gpu is not None:
        return "gpu"
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return f"cpu: {line.partition(':')[2].strip()}"
    return f"cpu: {platform.machine()}"


def data_tags(source: Source, corpus: Corpus, scoring: Scoring) -> dict[str, str]:
    """Which data a run is about, and on what it is scored."""
    written = {"data": source.data, "symbols": source.symbols, "split": list(source.split)}
    return {
        "sweep.data": json.dumps(written),
        "sweep.corpus_digest": corpus.digest,
        "sweep.scoring": json.dumps({"targets": scoring.targets, "seed": scoring.seed}),
        SCHEMA_TAG: str(SCHEMA),
    }


def spec_tags(spec: SweepSpec, name: str) -> dict[str, str]:
    """A sweep's spec as tags, so that it is there as soon as its run is."""
    text = json.dumps(spec.to_dict() | {"name": name})
    parts = [text[begin : begin + CHUNK] for begin in range(0, len(text), CHUNK)]
    return {f"sweep.spec.{number}": part for number, part in enumerate(parts)} | {
        "sweep.spec_digest": spec.digest(),
        "sweep.space_digest": spec.space.digest(),
    }


def read_spec(run: Any) -> SweepSpec:
    """The spec of a sweep from its run.

    Raises:
        InputError: it was made by the first version of this program, or somebody changed it.
    """
    tags = run.data.tags
    name = tags["sweep.name"]
    parts = itertools.takewhile(bool, (tags.get(f"sweep.spec.{n}") for n in itertools.count()))
    text = "".join(part for part in parts if part)
    if not text:
        raise InputError(
            f"sweep '{name}' was made by a version of this program that could not resume; "
            f"its trials can be listed, shown and exported"
        )
    found, expected = digest_of(json.loads(text)), tags.get("sweep.spec_digest")
    if found != expected:
        raise InputError(
            f"sweep '{name}': its spec has digest {found}, expected {expected}: tags of run "
            f"{run.info.run_id} were changed"
        )
    return SweepSpec.from_mapping(json.loads(text), f"sweep '{name}'")


def schema_of(tags: Mapping[str, str]) -> int | None:
    """Version of what the run with these tags holds; None if this program cannot read it."""
    found = tags.get(SCHEMA_TAG, "0")
    return int(found) if found.isdecimal() and int(found) <= SCHEMA else None


def check_schema(run: Any) -> None:
    """Refuse a sweep that a newer version of this program has made.

    Raises:
        InputError: this version does not know how to read it.
    """
    tags = run.data.tags
    if schema_of(tags) is None:
        raise InputError(
            f"sweep '{tags.get('sweep.name')}' has schema {tags[SCHEMA_TAG]}, expected at most "
            f"{SCHEMA}: a newer version of lstm-sweep made it"
        )


class Journal:
    """Writes the runs of one sweep."""

    def __init__(self, store: Store, run_id: str, corpus: Corpus, tags: dict[str, str]) -> None:
        self.store = store
        #: the parent run
        self.run_id = run_id
        self._corpus = corpus
        #: what every run of the sweep says of its data and its program
        self._common = tags | {f"version.{name}": text for name, text in versions().items()}

    def open_trial(self, trial: Trial, slot: Slot, tags: Mapping[str, str] | None = None) -> str:
        """Create the run of a trial; return its ID."""
        count = parameters(trial.config, len(self._corpus.alphabet))
        own = {
            "sweep.name": trial.sweep,
            "sweep.trial": str(trial.number),
            "sweep.attempt": str(trial.attempt),
            "sweep.phase": str(trial.phase),
            "sweep.vals": json.dumps(trial.point),
            "sweep.seed": str(trial.seed),
            "sweep.device": device_kind(slot),
            "sweep.config": json.dumps(trial.config.to_dict()),
        }
        name = trial.id + (f" (attempt {trial.attempt})" if trial.attempt > 1 else "")
        name += " (rerun)" if trial.phase is Phase.RERUN else ""
        run_id = self.store.create_run(name, {**self._common, **own, **(tags or {})}, self.run_id)
        extent = {
            "parameters": count,
            "parameters_per_symbol": round(count / len(self._corpus.train), 4),
        }
        self.store.log(run_id, params={**trial.config.to_dict(), **extent})
        return run_id

    def log_epoch(self, course: Course) -> None:
        """Log the epoch just done, and the best one so far."""
        self.store.log(course.run_id, metrics=_epoch_metrics(course), step=len(course.epochs))

    def close_trial(self, course: Course, *, keep: bool) -> None:
        """Store the best network if `keep`, log how the trial ended, and then its status.

        If it ended with an epoch that is not logged yet, that goes into the same call.
        """
        assert course.ended
        outcome = course.ended.outcome
        if keep:
            config = json.dumps(course.trial.config.to_dict(), indent=2)
            self.store.keep_file(course.run_id, course.job.weights, WEIGHTS)
            self.store.keep_text(course.run_id, config, f"{WEIGHTS}/config.json")
        if outcome.status == "FAILED" and course.job.log.exists():
            self.store.keep_file(course.run_id, course.job.log)
        reason = without_secrets(course.ended.reason)[:500]
        tags = {"sweep.outcome": str(outcome), "sweep.reason": reason}
        if course.ended.unfinished:
            tags["sweep.unfinished"] = "yes"
        curve = json.dumps([[epoch.get(name) for name in CURVE] for epoch in course.epochs])
        if len(curve) <= TAG_LENGTH:
            tags["sweep.curve"] = curve
        self.store.log(
            course.run_id,
            metrics=_epoch_metrics(course) if course.unlogged else None,
            tags=tags | ({"sweep.weights": "kept"} if keep else {}),
            step=len(course.epochs),
        )
        self.store.finish(course.run_id, outcome.status)

    def drop_weights(self, run_id: str) -> None:
        """Let the network of a trial go that is no longer among the best."""
        self.store.drop_folder(run_id, WEIGHTS)
        self.store.log(run_id, tags={"sweep.weights": "dropped"})

    def log_baseline(self, score: BaselineScore, run_id: str | None = None) -> None:
        """Log a baseline as a child run: one that was begun, or a new one."""
        tags = {"sweep.phase": str(Phase.BASELINE), "sweep.baseline": score.name}
        name = f"{self._common['sweep.name']}/{score.name}"
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


def _epoch_metrics(course: Course) -> dict[str, float]:
    assert course.best_loss is not None and course.best_epoch is not None
    return course.epochs[-1] | {
        "best_val_loss": course.best_loss,
        "best_epoch": float(course.best_epoch),
        "bits_per_symbol": bits(course.best_loss),
        "epochs_done": float(len(course.epochs)),
    }


def read_trial(run: Any) -> TrialRecord:
    """Make the record of a trial from its run."""
    check_schema(run)
    tags, params, metrics = run.data.tags, run.data.params, run.data.metrics
    if text := tags.get("sweep.config"):
        config = TrialConfig.from_dict(json.loads(text))
    else:  # schema 0
        config = TrialConfig.from_dict(
            {name: _plain(params[name]) for name in FIELDS if name in params}
        )
    trial = Trial(
        sweep=tags["sweep.name"],
        number=int(tags["sweep.trial"]),
        config=config,
        seed=int(tags["sweep.seed"]),
        point=json.loads(tags.get("sweep.vals", "{}")),
        attempt=int(tags.get("sweep.attempt", "1")),
        phase=Phase(tags["sweep.phase"]),
    )
    best_epoch = metrics.get("best_epoch")
    return TrialRecord(
        trial=trial,
        run_id=run.info.run_id,
        status=run.info.status,
        outcome=tags.get("sweep.outcome", ""),
        reason=tags.get("sweep.reason", ""),
        parameters=int(params.get("parameters", 0)),
        best_val_loss=metrics.get("best_val_loss"),
        best_epoch=None if best_epoch is None else int(best_epoch),
        epochs=int(metrics.get("epochs_done", 0)),
        has_weights=tags.get("sweep.weights") == "kept",
        tags=tags,
        rerun_of=tags.get("sweep.rerun_of", ""),
    )


def _plain(text: str) -> int | float | str:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def read_source(record: TrialRecord) -> tuple[Source, Scoring]:
    """Which data a trial was trained on, and what it was scored on."""
    given = json.loads(record.tags["sweep.data"])
    source = Source(data=given["data"], symbols=given["symbols"], split=tuple(given["split"]))
    return source, Scoring(**json.loads(record.tags["sweep.scoring"]))


def sweeps(store: Store) -> list[Any]:
    """Parent runs of all sweeps, oldest first."""
    return store.runs(sweep_role="sweep")


def find_sweep(store: Store, name: str) -> Any:
    """Parent run of a sweep; None if no sweep has this name."""
    if not NAME.fullmatch(name):
        return None
    found = store.runs(sweep_role="sweep", sweep_name=name)
    if found:
        check_schema(found[-1])
    return found[-1] if found else None


def existing_sweep(store: Store, name: str) -> Any:
    """Parent run of a sweep.

    Raises:
        InputError: no sweep has this name; those that there are are named.
    """
    run = find_sweep(store, name)
    if run is None:
        known = ", ".join(run.data.tags["sweep.name"] for run in sweeps(store)) or "none"
        raise InputError(f"sweep '{name}': no such sweep in {store.settings}; sweeps: {known}")
    return run


def trials(store: Store, sweep: str) -> list[TrialRecord]:
    """Trials of a sweep by number, the last attempt of each; no reruns."""
    parent = find_sweep(store, sweep)
    if parent is None:
        return []
    runs = store.runs(mlflow_parentRunId=parent.info.run_id)
    trained = [run for run in runs if run.data.tags.get("sweep.phase") in TRAINED]
    found = [read_trial(run) for run in trained]
    last = {record.trial.number: record for record in sorted(found, key=_attempt)}
    return [last[number] for number in sorted(last)]


def _attempt(record: TrialRecord) -> int:
    return record.trial.attempt


def ranked(records: list[TrialRecord]) -> list[TrialRecord]:
    """Trials with a loss that competes, the best first."""
    comparable = {str(outcome) for outcome in Outcome if outcome.ranks}
    with_loss = [
        record
        for record in records
        if record.best_val_loss is not None and record.outcome in comparable
    ]
    return sorted(with_loss, key=lambda record: (record.best_val_loss, record.trial.number))


def baselines(store: Store, sweep: str) -> dict[str, float]:
    """Loss of each baseline of a sweep, nats."""
    parent = find_sweep(store, sweep)
    if parent is None:
        return {}
    found = store.runs(mlflow_parentRunId=parent.info.run_id, sweep_phase=Phase.BASELINE)
    return {
        run.data.tags["sweep.baseline"]: run.data.metrics["best_val_loss"]
        for run in found
        if run.info.status == "FINISHED"
    }


def find_trial(store: Store, reference: str) -> TrialRecord:
    """The trial that `SWEEP/NUMBER`, a run ID or an unambiguous prefix of one means.

    Raises:
        InputError: there is none, or the prefix fits several.
    """
    name, slash, number = reference.rpartition("/")
    if slash:
        found = next((r for r in trials(store, name) if str(r.trial.number) == number), None)
        if found:
            return found
        known = ", ".join(run.data.tags["sweep.name"] for run in sweeps(store)) or "none"
        count = len(trials(store, name))
        has = f"sweep '{name}' has {count} trials" if count else f"sweeps: {known}"
        raise InputError(f"trial '{reference}': no such trial; {has}")
    if len(reference) == 32 and (run := store.run(reference)) and "sweep.trial" in run.data.tags:
        return read_trial(run)
    long_enough = len(reference) >= SHORTEST_PREFIX
    runs = [r for r in store.runs() if long_enough and r.info.run_id.startswith(reference)]
    matching = [run for run in runs if "sweep.trial" in run.data.tags]
    if len(matching) == 1:
        return read_trial(matching[0])
    if matching:
        names = ", ".join(f"{r.info.run_id} ({r.info.run_name})" for r in matching[:5])
        raise InputError(f"trial '{reference}' is the beginning of {len(matching)} runs: {names}")
    raise InputError(
        f"trial '{reference}': expected SWEEP/NUMBER, the ID of a trial's run, or the beginning of "
        f"one; `lstm-sweep trials NAME` lists them"
    )
