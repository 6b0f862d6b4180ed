"""Launches, resumes, stops and deletes sweeps, and prunes a store."""

from __future__ import annotations

import dataclasses
import filecmp
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from lstm_sweep.models.data.source import all_files
from lstm_sweep.models.errors import InputError, one_of, shown
from lstm_sweep.search.actions import references
from lstm_sweep.search.actions.dry_run import announcement
from lstm_sweep.search.actions.pretraining import first_of, second_of, with_network
from lstm_sweep.search.actions.references import (
    DifferentSearchError,
    Here,
    SweepRunsError,
    Wanted,
    existing_store,
)
from lstm_sweep.search.actions.sweeps import SweepResult, stored_result
from lstm_sweep.search.driver import lease
from lstm_sweep.search.driver.resume import DIED, close, how_to_go_on, rebuild, spent
from lstm_sweep.search.driver.state import ON_REQUEST, PAUSED, SILENT, Observer
from lstm_sweep.search.driver.sweep import NameTakenError, Sweep
from lstm_sweep.search.driver.task import Task
from lstm_sweep.search.driver.tasks import task_kind, task_kind_of_run
from lstm_sweep.search.engines.base import devices
from lstm_sweep.search.policy.problem import described
from lstm_sweep.search.process.signals import Interrupted, Interrupts
from lstm_sweep.search.store import reader, registry
from lstm_sweep.search.store.faults import BadRunError, NoSuchRunError, StoreError
from lstm_sweep.search.store.registry import Freed
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tags import Tag, Tags
from lstm_sweep.search.store.tracking import MlflowStore, Store
from lstm_sweep.search.values.documents import SAID, Document
from lstm_sweep.search.values.spec import CHANGEABLE, FILES, OPTIONS, SweepSpec
from lstm_sweep.search.values.sweep import SweepStatus
from lstm_sweep.search.values.trial import Phase, ranked
from lstm_sweep.spaces.dimension import ByCorpus


class SweepFailedError(StoreError):
    """The store has failed while a sweep ran; `result` is that of the sweep."""

    def __init__(self, message: str, result: SweepResult) -> None:
        super().__init__(message)
        self.result = result


@dataclass(frozen=True)
class StoppedSweep(Document):
    """A sweep that was asked to end, and has ended."""

    sweep: str
    run_id: str
    state: str
    #: whether it had ended before it was asked
    had_ended: bool = dataclasses.field(metadata=SAID)
    #: what to do so that it goes on; empty if this version cannot
    advice: str = dataclasses.field(metadata=SAID)
    #: trials that are left as they are, since they cannot be read, and why
    left_out: tuple[str, ...] = dataclasses.field(default=(), metadata=SAID)


def _drive(
    spec: SweepSpec, task: Task, observer: Observer, said: Sequence[str], **more: Any
) -> SweepResult:
    """Drive a sweep to its end, or until an end is wanted; `said` is what people should know.

    `more` is what `Sweep` is given besides.
    """
    sweep = Sweep(spec, task=task, observer=observer, **more)
    takes = announcement(spec, task, len(more["engine"].slots), sweep.state.seconds)
    for line in (f"sweep {sweep.state.name}: {takes}", *said):
        observer.said(line)
    try:
        sweep.run()
    except Interrupted:
        pass
    except StoreError as error:
        if isinstance(error, lease.LeaseLostError) or not sweep.state.run_id:
            raise
        raise SweepFailedError(str(error), SweepResult.of(sweep.state)) from error
    return SweepResult.of(sweep.state)


def launch(
    here: Here,
    spec: Wanted,
    observer: Observer = SILENT,
    interrupts: Interrupts | None = None,
    ray_address: str | None = None,
) -> SweepResult:
    """Run a sweep to the end of its budget, or until `interrupts` says that an end is wanted.

    `ray_address` is Ray's own address of a cluster, for `ray`; None for that in RAY_ADDRESS.

    Raises:
        SweepExistsError: the spec gives a name that a sweep has.
        SweepFailedError: the store has failed while the sweep ran, in a way that waiting does not
            resolve.
        KeyboardInterrupt: raised by the caller's own signal handler; the sweep is closed in order.
    """
    assert isinstance(spec, SweepSpec)
    if ahead := first_of(spec):
        store = MlflowStore(here.settings)
        store.prepare()
        if spec.name:
            references.check_free(store, spec.name)
        name = spec.name or references.free_name(store, Path(spec.data).name)
        first = replace(ahead[0], name=(first_name := f"{name}{references.AHEAD}"))
        observer.said(ahead[1])
        more = (observer, interrupts, ray_address)
        if reader.find_sweep(store, first_name):  # this launch was broken off
            done = resume(here, first_name, {}, first, None, *more)
        else:
            done = launch(here, first, *more)
        if done.goes_on:
            observer.said(f"the same launch with --name {name} goes on, and then begins {name}")
            return done
        spec = second_of(replace(spec, name=name), first)
    spec = _with_network(here.settings, spec, spec.name, observer)
    kind = task_kind(spec)
    with references.engine_of(spec, ray_address) as engine:
        kind.check_devices(spec, devices(engine))
        task = kind.open(spec)
        spec = task.settled(spec)
        notes = task.notes(spec)
        task.remember()
        # Keras is imported over there while MLflow is imported here
        engine.warm_up(user_code=task.runs_user_code)
        store = MlflowStore(here.settings)
        store.prepare()
        if spec.name:
            references.check_free(store, spec.name)
        prior = task.prior(spec, store)
        said = [*notes, *described(prior), f"store: {store.settings}"]
        while True:  # without a name, it is named after its data
            name = spec.name or references.free_name(store, task.dataset.name)
            try:
                return _drive(
                    spec, task, observer, said, name=name, store=store, engine=engine,
                    interrupts=interrupts, prior=prior,
                )  # fmt: skip
            except NameTakenError:  # by another launch, at this very moment
                if spec.name:
                    raise


def _with_network(
    settings: Settings, spec: SweepSpec, name: str | None, observer: Observer
) -> SweepSpec:
    found = with_network(settings, spec, name)
    if spec.pretrained and not found.pretrained:
        observer.said(
            f"{spec.pretrained} ended without a network: trials of {name} begin at random"
        )
    return found


def resume(
    here: Here,
    name: str,
    changes: Mapping[str, Any],
    spec: Wanted | None = None,
    template: str | None = None,
    observer: Observer = SILENT,
    interrupts: Interrupts | None = None,
    ray_address: str | None = None,
) -> SweepResult:
    """Go on with a sweep that was broken off, or has ended.

    `changes` are new values of fields that may change (`MAY_CHANGE`); a `spec` is checked against
    what the sweep began with, but for these. `template` is the path of the user's own file, if the
    sweep is over one. A finished sweep that is given no more to do is left as it is, and the result
    says so (`unchanged`).

    Raises:
        DifferentSearchError: `spec` describes another search; its differences are named.
        SweepRunsError: another process drives it.
        SweepFailedError: as for `launch`.
    """
    store, run = here.sweep_run(name)
    assert spec is None or isinstance(spec, SweepSpec)
    return go_on(store, run, changes, spec, template, observer, interrupts, ray_address)


def go_on(
    store: Store,
    run: Any,
    changes: Mapping[str, Any],
    spec: SweepSpec | None = None,
    template: str | None = None,
    observer: Observer = SILENT,
    interrupts: Interrupts | None = None,
    ray_address: str | None = None,
) -> SweepResult:
    """Go on with a sweep as its run says it, whatever the store says since; see `resume`."""
    tags = Tags(run)
    reader.state_of(tags)
    name, kind = reader.name_of(tags), task_kind_of_run(tags)
    was, now = specs_of(run, changes, spec, template)
    if all_spent := spent(tags, was, now):
        if run.info.status == "RUNNING":  # the store failed once this state was written
            store.finish(run.info.run_id, "FINISHED")
        unchanged = f"finished with {all_spent}; {how_to_go_on(name, tags)}"
        return dataclasses.replace(stored_result(store, run), unchanged=unchanged)
    is_new = references.is_new(tags)
    if is_new:
        now = _with_network(store.settings, now, name, observer)
    with references.engine_of(now, ray_address) as engine:
        kind.check_devices(now, devices(engine))
        task = kind.open(now)
        if is_new:
            now = task.settled(now)
        else:
            task.check_unchanged(name, tags)
        if driver := lease.find_driver(store, run.info.run_id):
            refuse_driven(name, driver)
        notes = task.notes(now)
        store.prepare()
        engine.warm_up(user_code=task.runs_user_code)
        past = rebuild(store, run, was)
        try:
            if is_new:
                prior = task.prior(now, store)
                past = dataclasses.replace(past, prior=prior, is_new=True)
                notes += described(prior)
            ended, again = len(past.state.ends), len(past.state.waiting)
            resumed = f"resumed: {ended} trials have ended, {again} are tried again"
            return _drive(
                now, task, observer, [*notes, f"store: {store.settings}", resumed],
                name=name, store=store, engine=engine, interrupts=interrupts, past=past,
            )  # fmt: skip
        finally:  # this process may live on, and is not to count as the sweep's driver
            past.lease.release()


def refuse_driven(name: str, driver: lease.Holder) -> NoReturn:
    raise SweepRunsError(
        f"sweep '{name}' runs: {driver} drives it; expected one that was broken off. To end it "
        f"there: lstm-sweep stop {name}"
    )


def stop(here: Here, name: str) -> StoppedSweep:
    """End a sweep that runs elsewhere, or waits, and wait until it has ended."""
    return _end(here, name, lease.END)


def pause(here: Here, name: str) -> StoppedSweep:
    """Let a sweep that runs elsewhere, or is queued, wait until it is resumed.

    Its trials go on from their checkpoints then.
    """
    return _end(here, name, lease.PAUSE)


def _end(here: Here, name: str, how: str) -> StoppedSweep:
    store, run = here.sweep_run(name)
    run_id = run.info.run_id
    was, pausing = reader.state_of(Tags(run)), how == lease.PAUSE
    waits = run.info.status == "SCHEDULED" or was == "queued"
    is_open = (waits and not (pausing and was == "paused")) or run.info.status == "RUNNING"
    waits = waits and lease.is_left(run.data.tags)  # a driver that begins has the lease first
    left_out = list[str]()
    if is_open and (waits or not lease.stop(store, run_id, how=how)):
        # no process drives it, so its runs are closed here
        why = PAUSED if pausing else ON_REQUEST if waits else DIED
        close(store, run, lambda error: left_out.append(str(error)), why)
    tags = Tags(store.run(run_id))
    return StoppedSweep(
        name,
        run_id,
        reader.state_of(tags),
        had_ended=not is_open,
        advice=how_to_go_on(name, tags),
        left_out=tuple(left_out),
    )


#: fields whose defaults leave the choice to the program; a value that is the default counts as not
#: given
LEFT_OPEN = ("ends", "targets", "targets_seed", "adjacent_targets", "rounds_per_epoch")


def specs_of(
    run: Any,
    changes: Mapping[str, Any],
    given: SweepSpec | None = None,
    template: str | None = None,
) -> tuple[SweepSpec, SweepSpec]:
    """The spec with which a sweep was driven last, and the one that it is to go on with."""
    tags = Tags(run)
    name = reader.name_of(tags)
    check_not_deleted(name, tags)
    was = task_kind_of_run(tags).read_spec(run, tags, template)
    return was, resumed_spec(was, name, changes, given)


def resumed_spec(
    was: SweepSpec, name: str, changes: Mapping[str, Any], given: SweepSpec | None
) -> SweepSpec:
    """The spec of a sweep with what may change as it is wanted now.

    A `given` one may have its data or template elsewhere, if their content is the same. What may
    change is changed by `changes` alone.
    """
    for field in changes:
        if field not in CHANGEABLE:
            raise InputError(f"{shown(field)} may not change: {one_of(field, CHANGEABLE)}")
    if given is None:
        return dataclasses.replace(was, **changes)
    given = _where_it_was(was, given)
    open_fields = [name for name in LEFT_OPEN if getattr(given, name) == OPTIONS[name].default]
    kept = [*CHANGEABLE, *open_fields]
    given = dataclasses.replace(given, **{field: getattr(was, field) for field in kept})
    open_ones = {n: d for n, d in given.space.items() if isinstance(d, ByCorpus)}
    if taken := {n: was.space[n] for n, d in open_ones.items() if d.may_be(was.space.get(n))}:
        given = dataclasses.replace(given, space=given.space.replace(**taken))
    if differences := was.differences(given):
        raise DifferentSearchError(
            f"the spec is not what sweep '{name}' began with: {'; '.join(differences)}; expected "
            f"the same search, or launch a new one"
        )
    return dataclasses.replace(given, **changes, name=was.name)


def named_changes(fields: Mapping[str, Any], spec: SweepSpec) -> dict[str, Any]:
    """What a file or a request with these fields, which make `spec`, changes by naming it."""
    return {field: getattr(spec, field) for field in CHANGEABLE if field in fields}


def _where_it_was(was: SweepSpec, given: SweepSpec) -> SweepSpec:
    """A spec with the path of the data or template that `was` has, if their content is the same."""
    if was.template and given.template:
        is_same = was.template.digest == given.template.digest
        return dataclasses.replace(given, template=was.template) if is_same else given
    if was.template or given.template:
        return given
    pairs = {name: (getattr(was, name), getattr(given, name)) for name in ("data", *FILES)}
    same = {
        name: old for name, (old, new) in pairs.items() if old and new and _same_files(old, new)
    }
    return dataclasses.replace(given, **same)


def _same_files(one: str, other: str) -> bool:
    if one == other or not (Path(one).is_absolute() and Path(other).is_absolute()):
        return one == other
    try:
        mine, its = (
            {file.relative_to(path): file for file in all_files(path)}
            for path in (Path(one), Path(other))
        )
        pairs = ((file, its[name]) for name, file in mine.items())
        return mine.keys() == its.keys() and all(filecmp.cmp(*pair, False) for pair in pairs)
    except (InputError, OSError):  # they are not there any more
        return False


def waiting_changes(tags: Tags) -> dict[str, Any]:
    """What was changed in a sweep that waits in a queue, and its driver is to begin with."""
    return dict(tags.json(Tag.CHANGES, dict)) if tags.get(Tag.CHANGES) else {}


#: values of `Tag.PRUNED`
ALL, BEST = "all", "best"
#: states of a sweep that has ended
ENDED = frozenset(SweepStatus) - {SweepStatus.PAUSED}


@dataclass(frozen=True, kw_only=True)
class Deleted(Freed):
    """A sweep that was deleted, or would be."""

    sweep: str
    #: whether the run of the sweep and its best trial stay
    keeps_best: bool
    #: runs that are left, for another call, if the time was over
    left: int = 0

    def with_more(self, then: Deleted) -> Deleted:
        """What two calls have deleted of it, one after the other."""
        return replace(then, **vars(self + then))


@dataclass(frozen=True)
class Pruned:
    """What `prune` has deleted, or would."""

    sweeps: tuple[Deleted, ...]
    #: a sentence for each sweep that is left out: which one, and why
    left_out: tuple[str, ...] = ()

    @property
    def freed(self) -> Freed:
        return sum(self.sweeps, Freed())

    @property
    def left(self) -> int:
        """Runs that are left, for another call, if the time was over."""
        return sum(one.left for one in self.sweeps)

    def to_dict(self) -> dict[str, Any]:
        listed = {"sweeps": [one.to_dict() for one in self.sweeps], "left": self.left}
        return listed | self.freed.to_dict() | {"left_out": list(self.left_out)}


def delete(
    here: Here,
    name: str,
    *,
    dry_run: bool = False,
    within_s: float = float("inf"),
    clock: Callable[[], float] = time.monotonic,
) -> Deleted:
    """Delete a sweep with the runs of its trials, their artifacts and logged models.

    A version of a registered model stays, with the files of its model. What is deleted cannot be
    had back. A call that breaks off, or whose time is over, is repeated.

    Raises:
        SweepRunsError: it runs, or waits in the queue of a service, or one of its trials is rerun.
    """
    store, run = here.sweep_run(name)
    end = clock() + within_s
    if not dry_run:
        reserve(store, run)
    return _delete(store, run, lambda: clock() >= end, keep_best=False, dry_run=dry_run)


def prune(
    here: Here,
    older_than_s: float,
    *,
    keep_best: bool = False,
    dry_run: bool = False,
    is_meant: Callable[[Any], bool] = lambda run: True,
    within_s: float = float("inf"),
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], float] = time.time,
) -> Pruned:
    """Delete all sweeps that ended more than so many seconds ago, or all but their best trials.

    With `keep_best` the run of a sweep, its baselines and its best trial stay, with their
    artifacts. Only sweeps count of whose run `is_meant` is true.
    """
    store, end = existing_store("prune", here.settings), clock() + within_s
    found, left_out = list[Deleted](), list[str]()
    for run in reader.sweeps(store, lambda error: left_out.append(str(error))):
        tags, ended = run.data.tags, (run.info.end_time or 0) / 1000
        if not is_meant(run) or not ended or now() - ended < older_than_s:
            continue
        try:
            if reader.state_of(Tags(run)) not in ENDED:
                continue
            if keep_best and tags.get(Tag.PRUNED) == BEST and not _runs_beside_best(store, run):
                continue
            if not dry_run:
                reserve(store, run, BEST if keep_best else ALL)
            done = _delete(store, run, lambda: clock() >= end, keep_best=keep_best, dry_run=dry_run)
            found.append(done)
        except NoSuchRunError:  # somebody else has deleted it
            continue
        except (BadRunError, SweepRunsError) as error:
            left_out.append(str(error))
        if found and found[-1].left:
            break
    return Pruned(tuple(found), tuple(left_out))


def reserve(store: Store, run: Any, what: str = ALL) -> None:
    """Mark a sweep as one that is deleted, so that nobody goes on with it.

    If that cannot be, its mark is what it was before.
    """
    name, run_id = run.data.tags[Tag.NAME], run.info.run_id
    _check_rests(store, name, run_id)
    before = store.tags(run_id).get(Tag.PRUNED, "")
    try:
        store.log(run_id, tags={Tag.PRUNED: what})
        _check_rests(store, name, run_id)  # it may have begun meanwhile
    except BaseException:
        store.log(run_id, tags={Tag.PRUNED: before})
        raise


def check_not_deleted(name: str, tags: Tags) -> None:
    found = tags.get(Tag.PRUNED)
    if found == BEST:
        raise InputError(
            f"sweep '{name}': all of it but its best trial was pruned, so it cannot go on: "
            f"expected a new sweep"
        )
    if found:
        raise InputError(
            f"sweep '{name}' is being deleted, expected another one, or the rest of that: "
            f"lstm-sweep delete {name}"
        )


def _check_rests(store: Store, name: str, run_id: str) -> None:
    run = store.run(run_id)
    if run is None:
        raise NoSuchRunError(
            f"sweep '{name}': it was deleted meanwhile, expected one that is there"
        )
    tags = Tags(run)
    if driver := lease.find_driver(store, run_id):
        why = f"{driver} drives it"
    elif reader.state_of(tags) == "queued" or tags.get(Tag.QUEUED) == "yes":
        why = "it waits in the queue of a service"
    elif any(
        one.info.status == "RUNNING" and not lease.is_left(one.data.tags)
        for one in store.runs({Tag.PARENT: run_id, Tag.PHASE: Phase.RERUN})
    ):
        why = "one of its trials is trained again"
    else:
        return
    raise SweepRunsError(
        f"sweep '{name}' cannot be deleted, for {why}: expected one that has ended. To end it: "
        f"lstm-sweep stop {name}"
    )


def _delete(
    store: MlflowStore, run: Any, is_over: Callable[[], bool], *, keep_best: bool, dry_run: bool
) -> Deleted:
    """Delete the runs of a sweep, its own at the very end: one at least, also if time is over."""
    name, freed = run.data.tags[Tag.NAME], Freed()
    children = store.runs({Tag.PARENT: run.info.run_id})
    left = _runs_beside_best(store, run) if keep_best else [*children, run]
    while left:
        freed += registry.delete(store, left.pop(0).info.run_id, dry_run=dry_run)
        if left and not dry_run and is_over():
            break
    return Deleted(**vars(freed), sweep=name, keeps_best=keep_best, left=len(left))


def _runs_beside_best(store: Store, run: Any) -> list[Any]:
    kept = {one.run_id for one in ranked(reader.trials(store, run.data.tags[Tag.NAME]))[:1]}
    children = store.runs({Tag.PARENT: run.info.run_id})
    trials = (one for one in children if Tag.BASELINE not in one.data.tags)
    return [one for one in trials if one.info.run_id not in kept]
