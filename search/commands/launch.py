"""`launch` and `resume`: a sweep from the command line."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from lstm_sweep.models.errors import InputError
from lstm_sweep.models.strict_json import json_text
from lstm_sweep.search.commands.display import Lines, LiveTable, open_console
from lstm_sweep.search.commands.exits import DONE, FAILED, INTERRUPTED
from lstm_sweep.search.commands.summary import conclude
from lstm_sweep.search.commands.terminal import plain
from lstm_sweep.search.engines.base import Engine, devices
from lstm_sweep.search.policy.stop_reason import SweepStatus
from lstm_sweep.search.spec import AUTO, MAY_CHANGE, SweepSpec, check_name, read_spec
from lstm_sweep.search.store import settings
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.sweep.continuation import how_to_go_on, spent
from lstm_sweep.search.sweep.preflight import check_budget
from lstm_sweep.search.sweep.tasks import task_kind, task_kind_of_run

if TYPE_CHECKING:
    from lstm_sweep.search.store.settings import Settings
    from lstm_sweep.search.store.tracking import Store
    from lstm_sweep.search.sweep.resume import ResumeState
    from lstm_sweep.search.sweep.task import Task

OPTIONS = (
    "data", "template", "learning_rate_field", "symbols", "name", "trials", "minutes", "workers",
    "per_gpu", "on", "space", "algo",
    "ladder", "halving", "early_stopping", "patience", "confirm_configs",
    "confirm_seeds", "max_failures", "seed", "size_rule", "targets", "keep",
)  # fmt: skip


def spec_of(arguments: Namespace) -> SweepSpec:
    """The spec that the options of `launch` and `size` describe."""
    changes = {name: getattr(arguments, name, None) for name in OPTIONS}
    given = {name: value for name, value in changes.items() if value is not None}
    extra = [f"epochs={arguments.epochs}"] if getattr(arguments, "epochs", None) is not None else []
    return read_spec(_spec_file(arguments), given, [*arguments.settings, *extra])


def _spec_file(arguments: Namespace) -> Path | None:
    file: str | None = getattr(arguments, "spec", None)
    if file == "":
        raise InputError("SWEEP.yaml is '': expected the path of a YAML file")
    return None if file is None else Path(file)


def existing_store(what: str) -> Store:
    """The store in which `what` is looked for; none is made for that.

    Raises:
        InputError: there is no store yet.
    """
    where = settings.load(Path.cwd())
    if where.database_file is not None and not where.database_file.exists():
        raise InputError(f"{what}: no store at {where} yet, expected one that launch has made")
    from lstm_sweep.search.store.tracking import Store

    return Store(where)


def launch(arguments: Namespace) -> int:
    """Run a sweep."""
    from lstm_sweep.search.engines import open_engine

    spec = spec_of(arguments)
    where = settings.load(Path.cwd())
    check_budget(spec)
    with open_engine(spec.on, workers=spec.workers, per_gpu=_stated(spec)) as engine:
        task_kind(spec).check_devices(spec, devices(engine))
        return _launch(arguments, spec, where, engine)


def _launch(arguments: Namespace, spec: SweepSpec, where: Settings, engine: Engine) -> int:
    from lstm_sweep.search.sweep import gpu_sharing

    task = task_kind(spec).open(spec)
    spec = task.settled(spec)
    notes = task.notes(spec, devices(engine))
    task.remember()
    # Keras is imported over there while MLflow is imported here
    engine.warm_up(foreign=task.runs_user_code)
    from lstm_sweep.search.store.tracking import Store

    store = Store(where)
    store.prepare()
    if spec.name:
        _check_free(store, spec.name)
    with gpu_sharing.sharing(spec, task, engine) as (shared, why):
        if spec.name:
            _check_free(store, spec.name)  # again: to measure a GPU may have taken minutes
            return _run(arguments, spec, spec.name, task, notes + why, store, shared)
        from lstm_sweep.search.sweep.sweep import NameTakenError

        while True:
            name = _free_name(store, task.dataset.name)
            with contextlib.suppress(NameTakenError):  # by another launch, at this very moment
                return _run(arguments, spec, name, task, notes + why, store, shared)


def resume(arguments: Namespace) -> int:
    """Go on with a sweep that was broken off."""
    from lstm_sweep.search.engines import open_engine
    from lstm_sweep.search.store import archive
    from lstm_sweep.search.store.tags import Tags
    from lstm_sweep.search.sweep import gpu_sharing, lease
    from lstm_sweep.search.sweep.resume import rebuild

    name, file = arguments.sweep, _spec_file(arguments)
    check_name("sweep", name)
    store = existing_store(f"sweep '{name}'")
    run = archive.existing_sweep(store, name)
    tags = Tags(run)
    archive.state_of(tags)
    kind = task_kind_of_run(tags)
    was = kind.read_spec(run, tags, arguments.template)
    spec = _resumed_spec(arguments, was, file)
    check_budget(spec)
    with open_engine(spec.on, workers=spec.workers, per_gpu=_stated(spec)) as engine:
        kind.check_devices(spec, devices(engine))
        if not arguments.json and (all_spent := spent(tags, was, spec)):
            print(f"sweep {name}: finished with {plain(all_spent)}; {how_to_go_on(name, tags)}")
            return DONE
        task = kind.open(spec)
        task.check_unchanged(name, tags)
        if driver := lease.is_driven(store, run.info.run_id):
            raise InputError(
                f"sweep '{name}' runs: {driver} drives it; expected one that was broken off. "
                f"To end it there: lstm-sweep stop {name}"
            )
        notes = task.notes(spec, devices(engine))
        store.prepare()
        engine.warm_up(foreign=task.runs_user_code)
        with gpu_sharing.sharing(spec, task, engine) as (shared, why):
            past = rebuild(store, run, was)
            return _run(arguments, spec, name, task, notes + why, store, shared, past)


def _stated(spec: SweepSpec) -> int:
    """How many trials share a GPU, as far as the spec says."""
    return spec.per_gpu if isinstance(spec.per_gpu, int) else 1


def _resumed_spec(arguments: Namespace, was: SweepSpec, file: Path | None) -> SweepSpec:
    """The spec of a sweep, with what may change as the command line has it.

    Raises:
        InputError: a file was given that describes another search; its differences are named.
    """
    given = {name: getattr(arguments, name, None) for name in MAY_CHANGE if name != "name"}
    changes = {name: value for name, value in given.items() if value is not None}
    if file is not None:
        now = read_spec(file, changes, [])
        if now.targets == AUTO:
            now = dataclasses.replace(now, targets=was.targets)
        if differences := was.differences(now):
            raise InputError(
                f"{file} is not what sweep '{arguments.sweep}' began with: "
                f"{'; '.join(differences)}; expected the same search, or launch a new one"
            )
        return dataclasses.replace(now, name=was.name)
    return dataclasses.replace(was, **changes)


def _check_free(store: Store, name: str) -> None:
    from lstm_sweep.search.store import archive

    run = archive.find_sweep(store, name)
    if run is None:
        return
    state = run.data.tags.get(Tag.STATE, "")
    advice = {
        "finished": f"lstm-sweep trials {name} lists its trials",
        "running": f"lstm-sweep stop {name} ends it, lstm-sweep resume {name} goes on with it",
    }.get(state, f"lstm-sweep resume {name} goes on with it")
    raise InputError(
        f"sweep '{name}' exists in {store.settings}, it is {state}: expected a new --name; {advice}"
    )


def _run(
    arguments: Namespace,
    spec: SweepSpec,
    name: str,
    task: Task,
    notes: list[str],
    store: Store,
    engine: Engine,
    past: ResumeState | None = None,
) -> int:
    """Run a sweep, a new one or one with a past, and say how it went."""
    from lstm_sweep.search.sweep.sweep import Sweep

    talk = open_console(stderr=arguments.json)
    display = LiveTable(talk) if talk.is_terminal else Lines(talk)
    for line in (_budget(spec, name, len(engine.slots)), *notes):
        display.say(line)
    display.say(f"store: {store.settings}")
    if past:
        ended = len({progress.trial.number for progress in past.finished})
        display.say(f"resumed: {ended} trials have ended, {len(past.again)} are tried again")
    sweep = Sweep(
        spec, name=name, task=task, store=store, engine=engine, display=display, past=past
    )
    code = DONE
    with display:
        try:
            sweep.run()
        except KeyboardInterrupt as interrupt:
            code = getattr(interrupt, "code", INTERRUPTED)
    state = sweep.state
    if arguments.json:
        print(json_text(state.to_dict()))
    else:
        with contextlib.suppress(SystemExit):  # what Rich makes of a pipe that nobody reads
            conclude(talk, state, store)
    if code == DONE and state.status is SweepStatus.FAILED:
        print(f"lstm-sweep: {state.closing}", file=sys.stderr)
        return FAILED
    if code == DONE and state.status is SweepStatus.FINISHED and state.best is None:
        print(f"lstm-sweep: no trial of '{name}' has a result", file=sys.stderr)
        return FAILED
    return code


def _free_name(store: Store, data: str) -> str:
    from lstm_sweep.search.store import archive

    stem = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in data)
    stem = Path(stem).stem.strip(".-_") or "sweep"
    taken = {run.data.tags[Tag.NAME] for run in archive.sweeps(store)}
    return next(
        name for number in itertools.count(1) if (name := f"{stem[:80]}-{number}") not in taken
    )


def _budget(spec: SweepSpec, name: str, slots: int) -> str:
    budget = f"{spec.trials} trials"
    if spec.minutes is not None:
        budget += f" or {spec.minutes:g} minutes"
    return f"sweep {name}: up to {budget}, {slots} at once, {spec.algo}, seed {spec.seed}"
