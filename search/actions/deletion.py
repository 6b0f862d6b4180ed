"""Deletes sweeps, and prunes a store: what has ended long ago goes, or all but its best trials."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions.references import Here, SweepRunsError, existing_store
from lstm_sweep.search.driver import lease
from lstm_sweep.search.store import reader, registry
from lstm_sweep.search.store.faults import BadRunError, NoSuchRunError
from lstm_sweep.search.store.registry import Freed
from lstm_sweep.search.store.tags import Tag, Tags
from lstm_sweep.search.store.tracking import MlflowStore, Store
from lstm_sweep.search.values.sweep import SweepStatus
from lstm_sweep.search.values.trial import Phase, ranked

#: values of `Tag.PRUNED`
ALL, BEST = "all", "best"
#: states of a sweep that has ended
ENDED = frozenset(SweepStatus) - {SweepStatus.PAUSED}


@dataclass(frozen=True)
class Deleted:
    """A sweep that was deleted, or would be."""

    sweep: str
    #: whether the run of the sweep and its best trial stay
    keeps_best: bool
    freed: Freed
    #: runs that are left, for another call, if the time was over
    left: int = 0

    def with_more(self, then: Deleted) -> Deleted:
        """What two calls have deleted of it, one after the other."""
        return replace(then, freed=self.freed + then.freed)

    def to_dict(self) -> dict[str, Any]:
        more = {"sweep": self.sweep, "keeps_best": self.keeps_best, "left": self.left}
        return more | self.freed.to_dict()

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Self:
        freed = Freed.from_dict(given)
        return cls(given["sweep"], given["keeps_best"], freed, given["left"])


@dataclass(frozen=True)
class Pruned:
    """What `prune` has deleted, or would."""

    sweeps: tuple[Deleted, ...]
    #: a sentence for each sweep that is left out: which one, and why
    left_out: tuple[str, ...] = ()

    @property
    def freed(self) -> Freed:
        return sum((one.freed for one in self.sweeps), Freed())

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
    before = store.tags(run_id).get(Tag.PRUNED)
    try:
        store.log(run_id, tags={Tag.PRUNED: what})
        _check_rests(store, name, run_id)  # it may have begun meanwhile
    except BaseException:
        if before is None:
            store.drop_tag(run_id, Tag.PRUNED)
        else:
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
    runs = _runs_beside_best(store, run) if keep_best else [*children, run]
    for number, one in enumerate(runs):
        if number and is_over() and not dry_run:
            return Deleted(name, keep_best, freed, len(runs) - number)
        freed += registry.delete(store, one.info.run_id, dry_run=dry_run)
    return Deleted(name, keep_best, freed)


def _runs_beside_best(store: Store, run: Any) -> list[Any]:
    kept = {one.run_id for one in ranked(reader.trials(store, run.data.tags[Tag.NAME]))[:1]}
    children = store.runs({Tag.PARENT: run.info.run_id})
    trials = (one for one in children if Tag.BASELINE not in one.data.tags)
    return [one for one in trials if one.info.run_id not in kept]
