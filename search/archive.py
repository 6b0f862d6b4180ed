"""Sweeps and trials read back from the store: the other half of `journal`."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Mapping
from typing import Any

from models.config import FIELDS, Config, TrialConfig
from models.errors import InputError, shown
from models.source import Source
from search.journal import SCHEMA, SCHEMA_TAG, TEMPLATE_TAG
from search.spec import NAME, Scoring, SweepSpec, digest_of
from search.tracking import Store
from search.trial import RESULTS, Outcome, Phase, Trial, TrialRecord
from spaces.template import Template
from spaces.template_config import TemplateConfig

#: phases of the runs that are a sweep's own trials
TRAINED = (Phase.LADDER, Phase.SEARCH, Phase.CONFIRM)
#: characters of a run ID that name it, at least
SHORTEST_PREFIX = 4


def read_template(store: Store, tags: Mapping[str, str], given: str | None) -> Template | None:
    """The user's own file of the template that a run is about; None if it is about none.

    It is read from `given`, or from where it was. A store that others may write to does not say
    which file is run.

    Raises:
        InputError: the file is not what it was, or has to be named.
    """
    text = tags.get(TEMPLATE_TAG)
    if text is None:
        if given is not None:
            raise InputError(f"--template {shown(given)}: the sweep has no template, expected none")
        return None
    written = json.loads(text)
    path, digest = written["path"], written["digest"]
    if given is None and store.settings.database_file is None:
        raise InputError(
            f"the sweep runs a template, and a server keeps its runs: expected --template FILE.py, "
            f"your own file (it was {shown(path)})"
        )
    template = Template.read(path if given is None else given)
    if template.digest != digest:
        raise InputError(
            f"template {template.where} has changed since: found digest {template.digest}, "
            f"expected {digest}"
        )
    return template


def written_spec(run: Any) -> dict[str, Any]:
    """The spec of a sweep as its run has it.

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
    written: dict[str, Any] = json.loads(text)
    return written


def read_spec(run: Any, template: Template | None = None) -> SweepSpec:
    """The spec of a sweep from its run; `template` is the one that it is over.

    Raises:
        InputError: as `written_spec`.
    """
    written = written_spec(run)
    if template:
        written |= {"template": template}
        del written["template_digest"], written["space"]
    return SweepSpec.from_mapping(written, f"sweep '{run.data.tags['sweep.name']}'")


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


def read_trial(run: Any) -> TrialRecord:
    """Make the record of a trial from its run."""
    check_schema(run)
    tags, params, metrics = run.data.tags, run.data.params, run.data.metrics
    config: Config
    text = tags.get("sweep.config")
    if text and TEMPLATE_TAG in tags:
        config = TemplateConfig.from_dict(json.loads(text))
    elif text:
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
        results=_results(metrics) if TEMPLATE_TAG in tags else RESULTS,
    )


def _results(metrics: Mapping[str, float]) -> tuple[str, ...]:
    """What a template's `fit` has said of each epoch."""
    found = sorted(name for name in metrics if name.startswith(("train_", "val_")))
    return tuple(sorted(found, key=lambda name: name not in RESULTS))


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
