"""The queue of a service: sweeps whose runs are `SCHEDULED`, and those that it drives.

The store has all of it: what a sweep is about, who has submitted it, when, and with which priority.

At most one service keeps the queue of a store: it has a lease in the tags of the experiment. It is
the lease that a driver has on a sweep, of the whole store. Whoever finds one that is renewed
is refused; that of a service which was killed is taken over, at once on the same machine, and else
after `STALE_S`. A folder beside an SQLite file is locked too, which the system unlocks when a
process ends; there the lease says only who that is, and is not renewed: each change of the file has
all who read it read again.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from typing_extensions import override

from lstm_sweep.models.data.source import SAMPLES, all_files, existing
from lstm_sweep.models.errors import InputError, cut, escaped, shown
from lstm_sweep.search.actions import references
from lstm_sweep.search.actions.lifecycle import specs_of, waiting_changes
from lstm_sweep.search.actions.pretraining import second_of
from lstm_sweep.search.actions.references import NothingToDoError, SweepExistsError
from lstm_sweep.search.driver import lease
from lstm_sweep.search.driver.lease import (
    BEAT_S,
    OWNS_NAME,
    STALE_S,
    WITHDRAWN,
    Lease,
    LeaseLostError,
    reserve_name,
)
from lstm_sweep.search.driver.resume import close, how_to_go_on, spent
from lstm_sweep.search.driver.tasks import task_kind, task_kind_of_run
from lstm_sweep.search.service.scheduler import QueuedJob
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.faults import BadRunError, StoreError
from lstm_sweep.search.store.journal import spec_tags
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tags import LARGEST, Tag, Tags, count
from lstm_sweep.search.store.tracking import MlflowStore, Store
from lstm_sweep.search.values.documents import Document
from lstm_sweep.search.values.spec import UNLIMITED, SweepSpec
from lstm_sweep.search.values.sweep import Stop, StopReason, SweepStatus

#: priorities that a sweep may have; those with a higher one go first
PRIORITIES = range(-100, 101)
#: value of `Tag.QUEUED` of sweeps that a service is to drive, and of those that it has driven
QUEUED, LEFT = "yes", "no"
NOT_SIGNED = (
    "it was queued by somebody else than this service, which leaves it alone until `resume`"
)
WAITS = ("queued", "running", SweepStatus.PAUSED, SweepStatus.INTERRUPTED)

log = logging.getLogger("lstm_sweep.service")


def submit(
    store: Store,
    spec: SweepSpec,
    *,
    owner: str,
    client_token: str | None = None,
    priority: int = 0,
    check_room: Callable[[], None] = lambda: None,
    ahead: SweepSpec | None = None,
) -> tuple[str, str]:
    """Queue a sweep; its name and run. What came with the same token is not queued again.

    It begins with what the sweep `ahead` learns, if one is given, which `submit_ahead` queues.
    """
    check_priority(priority)
    store.prepare()
    own = {Tag.OWNER: owner}
    if client_token is not None:
        own[Tag.CLIENT_TOKEN] = client_token.encode().hex()
        if earlier := _submitted_before(store, own, spec):
            return earlier
    check_room()
    tags = own | {Tag.SUBMITTED_DIGEST: spec.digest(), Tag.SUBMITTED: f"{time.time():.3f}"}
    tags |= {Tag.ROLE: "sweep", Tag.STATE: "queued", Tag.QUEUED: QUEUED}
    tags |= {Tag.PRIORITY: str(priority), Tag.SEED: str(spec.seed)}
    data = str(spec.template.path) if spec.template else spec.data
    while True:
        name = spec.name or references.free_name(store, data.rstrip("/").rpartition("/")[2])
        references.check_free(store, name)
        queued = spec
        if ahead:
            first = replace(ahead, name=f"{name}{references.AHEAD}")
            references.check_free(store, first.name or "")
            queued = second_of(spec, first)
        named = tags | task_kind(queued).queued_tags(queued) | {Tag.NAME: name}
        named |= spec_tags(queued, name)
        run_id = store.create_run(name, named)
        store.log(run_id, tags=_signatures(store, run_id, named))
        try:
            _claim(store, name, run_id)
        except SweepExistsError:
            if spec.name:
                raise
            continue
        store.reopen(run_id, "SCHEDULED")  # no driver can know of it yet
        return name, run_id


def submit_ahead(store: Store, ahead: SweepSpec, name: str, owner: str, priority: int) -> str:
    """Queue the sweep that comes ahead of the sweep `name`, once; its run."""
    own = f"{name}{references.AHEAD}"
    if earlier := reader.find_sweep(store, own):
        return str(earlier.info.run_id)
    return submit(store, replace(ahead, name=own), owner=owner, priority=priority)[1]


def _submitted_before(
    store: Store, own: Mapping[str, str], spec: SweepSpec
) -> tuple[str, str] | None:
    """The name and run of what the same owner has submitted with the same token."""
    for run in store.runs(own):
        run_id = run.info.run_id
        if not _is_signed(store, run):  # its submission was cut off before, or it is a fake
            store.log(run_id, tags=WITHDRAWN)
            _withdraw(store, run_id)
            continue
        if run.data.tags.get(Tag.SUBMITTED_DIGEST) != spec.digest():
            raise SweepExistsError(
                f"sweep '{run.data.tags[Tag.NAME]}' was submitted with the same token, but "
                f"another spec: expected a token for each sweep"
            )
        with contextlib.suppress(SweepExistsError):
            _enter(store, run)
            return run.data.tags[Tag.NAME], run_id
    return None


def _signatures(store: Store, run_id: str, tags: Mapping[str, str]) -> dict[str, str]:
    """What makes a run with these tags one that this service has queued."""
    signer = store.signer
    return signer.of_spec(run_id, tags) | signer.of_place(run_id, tags) if signer else {}


def _is_signed(store: Store, run: Any) -> bool:
    """Whether this service has queued a run as it is; without a signer all are taken."""
    signer = store.signer
    return signer is None or (signer.knows_spec(run) and signer.knows_place(run))


def is_queued(store: Store, run: Any) -> bool:
    wanted = {Tag.ROLE: "sweep", Tag.QUEUED: QUEUED}.items()
    return run is not None and wanted <= run.data.tags.items() and _is_signed(store, run)


def owner_of(store: Store, run: Any) -> str | None:
    """Who has submitted a sweep to this service; None if nobody has."""
    is_ours = store.signer is None or store.signer.knows_place(run)
    return (run.data.tags.get(Tag.OWNER) or None) if is_ours else None


def _enter(store: Store, run: Any) -> None:
    """Let a sweep wait whose run exists; a second call does nothing."""
    run = store.run(run.info.run_id)
    if run.data.params.get(OWNS_NAME) != "yes":
        _claim(store, run.data.tags[Tag.NAME], run.info.run_id)
    # a driver that begins has the lease before it changes the status, and then the state
    waits = run.data.tags.get(Tag.STATE) == "queued" and lease.is_left(run.data.tags)
    if waits and run.info.status == "RUNNING":
        store.reopen(run.info.run_id, "SCHEDULED")


def _claim(store: Store, name: str, run_id: str) -> None:
    if not reserve_name(store, name, run_id):
        _withdraw(store, run_id)
        raise SweepExistsError(
            f"sweep '{name}' was begun by another at the same time: expected another name"
        )


def _withdraw(store: Store, run_id: str) -> None:
    leave(store, run_id)
    store.finish(run_id, "KILLED")


def check_priority(priority: object) -> None:
    if type(priority) is not int or priority not in PRIORITIES:
        expected = f"expected a whole number from {PRIORITIES[0]} to {PRIORITIES[-1]}"
        raise InputError(f"priority is {shown(priority)}: {expected}")


def queued_runs(store: Store) -> list[Any]:
    # other runs have no such tag; by one tag they are found faster than by two
    return ours(store, store.runs({Tag.QUEUED: QUEUED}))


def ours(store: Store, runs: Iterable[Any]) -> list[Any]:
    """Those of some runs that this service is to drive."""
    found = list[Any]()
    for run in runs:
        if run.data.tags.get(Tag.QUEUED) != QUEUED:
            continue
        if not is_queued(store, run):
            _note_left_out(str(run.info.run_id), NOT_SIGNED)
            continue
        found.append(run)
        if run.data.tags.get(Tag.STATE) == "queued" and run.info.status == "RUNNING":
            with contextlib.suppress(InputError):  # whoever queued it was killed meanwhile
                _enter(store, run)
    return found


def read(runs: Iterable[Any]) -> list[QueuedJob]:
    """Sweeps by their runs, oldest first; what cannot be read, as by others, is left out."""
    found = []
    for run in runs:
        try:
            found.append(_read(run))
        except Exception as error:
            kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            _note_left_out(str(run.info.run_id), f"{kind}{error}")
    return sorted(found, key=lambda one: (one.submitted, one.run_id))


@functools.lru_cache(maxsize=1_000)
def _note_left_out(run_id: str, why: str) -> None:
    log.warning("run %s is left out of the queue: %s", run_id, escaped(cut(why)))


def _read(run: Any) -> QueuedJob:
    tags = Tags(run)
    spec, done = reader.written_spec(run), count(run.data.metrics, "trials_done")
    driven = lease.holder(run.data.tags)
    return QueuedJob(
        name=reader.name_of(tags),
        run_id=tags.run_id,
        owner=tags.get(Tag.OWNER, ""),
        priority=tags.whole(Tag.PRIORITY, PRIORITIES[0], 0, PRIORITIES[-1]),
        submitted=tags.seconds(Tag.SUBMITTED),
        state=reader.state_of(tags),
        runs_code=task_kind_of_run(tags).runs_user_code,
        begins_with=_name_of(spec.get("pretrained")) if references.is_new(tags) else None,
        driver=None if driven is None or driven.is_gone else driven,
        changes=waiting_changes(tags),
        workers=_whole(tags, spec, "workers"),
        trials_left=max(1, (_whole(tags, spec, "trials") or UNLIMITED) - done),
    )


def _name_of(network: object) -> str | None:
    """The sweep of a network, which is named by it, or by one of its trials."""
    return network.partition("/")[0] if isinstance(network, str) else None


def _whole(tags: Tags, spec: Mapping[str, Any], field: str) -> int | None:
    found = spec.get(field)
    if found is None or (type(found) is int and 1 <= found <= LARGEST):
        return found
    raise BadRunError(
        f"run {tags.run_id}: {field} of its spec is {shown(found)}: expected a whole number from 1"
    )


def leave(store: Store, run_id: str) -> None:
    """Take a sweep out of the queue; what it does otherwise stays as it is."""
    store.log(run_id, tags={Tag.QUEUED: LEFT})


def let_wait(store: Store, run_id: str) -> None:
    """Let a sweep wait whose driver was ended or has died; others stay as they are."""
    run = store.run(run_id)
    ended = lease.state_of(run) in (SweepStatus.INTERRUPTED, lease.BROKEN_OFF)
    if ended and lease.is_left(run.data.tags):  # a driver that begins has the lease first
        store.log(run_id, tags={Tag.STATE: "queued"})
        store.reopen(run_id, "SCHEDULED")


def prioritise(store: Store, run: Any, priority: int) -> None:
    new, run_id = {Tag.PRIORITY: str(priority)}, run.info.run_id
    if signer := store.signer:
        if not signer.knows_place(run):
            name = run.data.tags.get(Tag.NAME)
            raise InputError(f"sweep '{name}': {NOT_SIGNED}; expected one that was queued here")
        new |= signer.of_place(run_id, run.data.tags | new)
    store.log(run_id, tags=new)


def requeue(store: Store, name: str, changes: Mapping[str, Any], owner: str) -> None:
    """Queue a sweep again that waits or has ended.

    Changes add to those that it waits with; those of one that has ended are forgotten. One that
    this service has not queued belongs to `owner` from then on, if its data may be read here.
    """
    run = reader.existing_sweep(store, name)
    tags, is_ours = Tags(run), _is_signed(store, run)
    state = reader.state_of(tags)
    waits = waiting_changes(tags) if state in WAITS and is_ours else {}
    changes = waits | dict(changes)
    was, now = specs_of(run, changes)
    if all_spent := spent(tags, was, now):
        raise NothingToDoError(
            f"sweep {name}: finished with {all_spent}; {how_to_go_on(name, tags)}"
        )
    new = {Tag.QUEUED: QUEUED, Tag.CHANGES: json.dumps(changes) if changes else ""}
    if Tag.SUBMITTED not in tags or not is_ours:
        if was.template is None and was.data not in SAMPLES:
            all_files(existing(was.data))  # refused if they are gone, or lie elsewhere
        new |= {Tag.OWNER: owner, Tag.SUBMITTED: f"{time.time():.3f}", Tag.PRIORITY: "0"}
        if Tag.SUBMITTED not in tags:
            new |= {Tag.STARTED: f"{(run.info.start_time or 0) / 1000:.3f}"}
    if state != "running":
        new[Tag.STATE] = "queued"
    store.log(tags.run_id, tags=new | _signatures(store, tags.run_id, {**tags} | new))
    if state != "running":
        store.reopen(tags.run_id, "SCHEDULED")


def is_changed(run: Any, changes: Mapping[str, Any]) -> bool:
    """Whether changes would change what a sweep is driven with, or is about to be."""
    waits = waiting_changes(Tags(run))
    return specs_of(run, waits)[1] != specs_of(run, waits | dict(changes))[1]


def give_up(store: Store, run_id: str, why: str) -> None:
    """Close a sweep as failed, if its run can be closed, and take it out of the queue."""
    try:
        close(store, store.run(run_id), lambda error: None, Stop(StopReason.FAILED, why))
    except StoreError:
        raise
    except Exception as error:
        found = escaped(cut(f"{type(error).__name__}: {error}"))
        log.warning("run %s is given up, but cannot be closed: %s", run_id, found)
    leave(store, run_id)


@dataclass(frozen=True, kw_only=True)
class QueuedSweep(Document):
    """A sweep or rerun that waits or runs, in the order in which slots are given."""

    #: name of the sweep, or SWEEP/NUMBER of the trial that is trained again
    sweep: str
    #: run of the sweep, or ID of the rerun
    run_id: str
    owner: str
    priority: int
    submitted: datetime
    #: slots that it was given, and that it could use
    slots: int
    wanted: int
    #: process that drives it; None while there is none
    driver: int | None
    #: why it has these slots, a sentence
    why: str


class ExperimentTags(MlflowStore):
    """The tags of the experiment of a store, in the place of those of a run."""

    @override
    def tags(self, run_id: str) -> dict[str, str]:
        return dict(self.ask(lambda: self.client.get_experiment(self.experiment.id)).tags)

    @override
    def log(self, run_id: str, *, tags: Mapping[str, str] | None = None, **more: Any) -> None:
        for tag in (tags or {}).items():
            self.ask(functools.partial(self.client.set_experiment_tag, self.experiment.id, *tag))


class QueueLease:
    """The lease of this service on the queue of a store."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        """Take it, and lock the folder of the service, or say who keeps the queue."""
        store = ExperimentTags(settings)
        store.prepare()
        keeper = lease.holder(store.tags(""))
        self._folder = _locked(folder)
        self._is_file = settings.database_file is not None
        if self._folder is not None:
            if not self._is_file and keeper and not keeper.is_here:
                log.warning("waiting up to %.0f s, since %s has kept the queue", STALE_S, keeper)
            watch_s = 0.0 if self._is_file else STALE_S
            keeper = lease.find_driver(store, "", watch_s=watch_s)
            if not keeper:
                self._lease, self._over = Lease(store, ""), threading.Event()
                self._lease.take()
                return
            os.close(self._folder)
        who = f"another service, {keeper}," if keeper else "another service"
        raise InputError(f"{who} keeps the queue of {settings}: expected one at a time")

    def keep(self, on_lost: Callable[[str], None]) -> None:
        """Renew it from a thread; `on_lost` is called once another service has taken it."""
        if not self._is_file:
            threading.Thread(target=self._renew, args=[on_lost], name="lease", daemon=True).start()

    def _renew(self, on_lost: Callable[[str], None]) -> None:
        while not self._over.wait(BEAT_S):
            try:
                self._lease.beat(0.0)
            except LeaseLostError:
                on_lost("another service has taken the queue over")
                return
            except Exception as error:  # the next renewal may succeed
                log.warning("the lease of the queue was not renewed: %s", error)

    def release(self) -> None:
        if not self._over.is_set() and self._folder is not None:
            self._over.set()
            self._lease.give_back("")
            os.close(self._folder)


def _locked(folder: Path) -> int | None:
    """A descriptor that locks the folder of a service; None if another one has locked it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    with contextlib.suppress(OSError):  # a file system without locks
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
    return descriptor
