"""`Service`: keeps the queue of a store, whose sweeps and reruns its supervisor runs."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions.lifecycle import Deleted, Pruned, StoppedSweep, refuse_driven
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.actions.pretraining import first_of
from lstm_sweep.search.actions.references import QueueFullError, ServiceEndsError, SweepRunsError
from lstm_sweep.search.actions.sweeps import SweepPage, SweepStatusReport
from lstm_sweep.search.driver import lease
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.service import queue
from lstm_sweep.search.service.jobs import KEY, Rerun, Wanted
from lstm_sweep.search.service.logs import Seldom
from lstm_sweep.search.service.queue import QueuedSweep, QueueLease
from lstm_sweep.search.service.scheduler import QueuedJob
from lstm_sweep.search.service.settings import ServiceSettings
from lstm_sweep.search.service.supervisor import UNDER_WAY, Supervisor
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.cache import SharedSettings, SharedStore
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tags import Signer, Tag, Tags
from lstm_sweep.search.store.tracking import MlflowStore
from lstm_sweep.search.values.spec import SweepSpec

#: seconds between two looks at the queue, at least and at most, and part of a processor that they
#: may take
LOOK_EVERY_S, MOST_SELDOM_S, LOOK_SHARE = 1.0, 5.0, 0.02
#: seconds without a look after which the service is not ready
LATE_S = 30.0
#: seconds for which a request deletes runs
DELETING_S = 20.0
#: errors of the store and of files, whose texts say all
EXPECTED = (InputError, StoreError, OSError)


log = logging.getLogger("lstm_sweep.service")


class Service:
    """What a service does, without HTTP, in any thread; whatever only reads asks `Local`."""

    def __init__(
        self, settings: ServiceSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.settings, self._clock = settings, clock
        #: what it counts of itself, as `logs.FIGURES` says
        self.figures = {"driver_deaths": 0.0, "failed_looks": 0.0, "store_seconds": 0.0}
        self._queue_lease = QueueLease(settings.store, settings.state)
        self._store = MlflowStore(settings.store)
        self._store.signer = Signer(settings.state / KEY)
        self._shared = SharedStore(settings.store, clock)
        #: `settings.store`, read once for all who ask; what is changed here is seen at once
        self.reads: Settings = SharedSettings.of(self._shared)
        self._lock = threading.RLock()
        self._supervisor = Supervisor(settings, self._store, clock)
        self._ends, self._looked, self._fault = threading.Event(), clock(), ""
        self._logs = Seldom()
        #: the runs of the queue, as they were read last; None before
        self._runs: list[Any] | None = None
        #: what ends the program once another service has taken the queue over
        self.on_lost: Callable[[], None] = lambda: None

    # what is asked

    def submit(
        self, spec: SweepSpec, *, owner: str, client_token: str | None = None, priority: int = 0
    ) -> str:
        """Queue a sweep, and what comes ahead of it; its name.

        The same token of an owner queues it once.
        """
        ahead, _ = first_of(spec) or (None, "")
        with self._changing() as changed:
            name, run_id = queue.submit(
                self._store,
                spec,
                owner=owner,
                client_token=client_token,
                priority=priority,
                check_room=partial(self._check_room, owner),
                ahead=ahead,
            )
            changed.append(run_id)
            if ahead:
                changed.append(queue.submit_ahead(self._store, ahead, name, owner, priority))
        return name

    def rerun(self, wanted: Wanted, *, owner: str) -> Rerun:
        with self._changing() as changed:
            self._check_room(owner)
            rerun_id = self._supervisor.reruns.submit(wanted, owner)
            changed.append(rerun_id)
        return self.rerun_status(rerun_id)

    def _check_room(self, owner: str) -> None:
        most = self.settings.most_queued_per_user
        own = [job for job in self._supervisor.queue() if job.owner == owner]
        if len(own) >= most:
            what = "sweeps and reruns" if any(job.is_rerun for job in own) else "sweeps"
            raise QueueFullError(
                f"user {owner} has {len(own)} {what} queued, expected at most {most}"
            )

    def reruns(self) -> list[QueuedJob]:
        return self._supervisor.reruns.queue()

    def rerun_status(self, rerun_id: str) -> Rerun:
        found = self._supervisor.reruns.get(rerun_id)
        if found.state != "queued":
            return found
        return replace(found, why=self._supervisor.why(rerun_id, "queued"))

    def sweeps(self, limit: int = 20, page: str = "") -> SweepPage:
        found, told = Local(self.reads).sweeps(limit=limit, page=page), self._supervisor.told
        rows = [replace(row, state=told(row.run_id, row.state)[0]) for row in found]
        return replace(found, rows=tuple(rows))

    def queue(self) -> tuple[QueuedSweep, ...]:
        return tuple(map(self._supervisor.shown, self._supervisor.queue()))

    def status(self, name: str) -> SweepStatusReport:
        """The state of a sweep, as `Local.status`; `why` also says for what it waits."""
        report = Local(self.reads).status(name)
        if report.state == "queued" and not self._supervisor.queued(report.run_id):
            return replace(report, why=queue.NOT_SIGNED)
        state, why = self._supervisor.told(report.run_id, report.state)
        return replace(report, state=state, why=why or report.why)

    def pause(self, name: str) -> StoppedSweep:
        with self._taken_out(name):
            return Local(self.settings.store).pause(name)

    def stop(self, name: str) -> StoppedSweep:
        with self._taken_out(name):
            return Local(self.settings.store).stop(name)

    def resume(
        self, name: str, changes: Mapping[str, Any] | None = None, *, owner: str = ""
    ) -> SweepStatusReport:
        """Queue a sweep that is paused or has ended.

        Changes add to those that it waits with, and replace a driver that has not begun. One that
        runs goes on, and is refused if that would change it.
        """
        before = reader.existing_sweep(self._store, name)
        run_id, changes = before.info.run_id, changes or {}
        driver = lease.find_driver(self._store, run_id)
        if changes and not driver and reader.state_of(Tags(before)) in UNDER_WAY:
            self._supervisor.end([run_id])  # both may take a while, which nobody waits for
        with self._changing() as changed:  # and begin its driver
            changed.append(run_id)
            run = reader.existing_sweep(self._store, name)
            now = lease.holder(run.data.tags)
            if now != lease.holder(before.data.tags):
                driver = None if lease.is_left(run.data.tags) else now
            if driver and queue.is_changed(run, changes):
                refuse_driven(name, driver)
            if not driver:
                self._supervisor.expect_end(run_id)
                if changes and reader.state_of(Tags(run)) in UNDER_WAY:
                    self._supervisor.end([run_id])  # one that starts would begin without them
                queue.requeue(self._store, name, changes, owner)
        return self.status(name)

    def prioritise(self, name: str, priority: int) -> QueuedSweep:
        queue.check_priority(priority)
        run = reader.existing_sweep(self._store, name)
        if self._supervisor.queued(run.info.run_id):
            with self._changing() as changed:
                queue.prioritise(self._store, run, priority)
                changed.append(run.info.run_id)
        if job := self._supervisor.queued(run.info.run_id):
            return self._supervisor.shown(job)
        raise InputError(f"sweep '{name}' is not queued: expected one that waits or runs")

    def delete(self, name: str, *, dry_run: bool = False) -> Deleted:
        with self._alone():
            run = reader.existing_sweep(self._store, name)
            if not dry_run and self._supervisor.queued(run.info.run_id):
                raise SweepRunsError(
                    f"sweep '{name}' waits or runs: expected one that has ended, or to stop it "
                    f"first"
                )
        try:
            return Local(self.settings.store).delete(name, dry_run=dry_run, within_s=DELETING_S)
        finally:
            self._shared.forget()

    def prune(
        self, *, older_than_s: float, keep_best: bool, dry_run: bool, owner: str | None
    ) -> Pruned:
        """Delete sweeps that ended long ago, of one owner or of all, for a while."""
        try:
            return Local(self.settings.store).prune(
                older_than_s=older_than_s,
                keep_best=keep_best,
                dry_run=dry_run,
                is_meant=lambda run: owner in (None, queue.owner_of(self._store, run)),
                within_s=DELETING_S,
            )
        finally:
            self._shared.forget()

    def owner(self, name: str) -> str | None:
        return queue.owner_of(self._store, reader.existing_sweep(self._shared, name))

    def ready(self) -> str:
        """Why it cannot take sweeps just now; empty if it can."""
        if self._ends.is_set():
            return "the service ends"
        late = self._clock() - self._looked
        return self._fault or ("" if late < LATE_S else f"the queue was not seen for {late:.0f} s")

    # what happens by itself

    def start(self) -> None:
        """Read the queue, so that what is asked next finds it, and watch it from then on."""
        self._queue_lease.keep(self._give_way)
        self._try_to_look()
        threading.Thread(target=self._watch, name="queue", daemon=True).start()

    def drain(self) -> None:
        """End drivers with their trials checkpointed; it waits for no look at the queue."""
        self._ends.set()
        self._supervisor.close()
        self._queue_lease.release()

    def _give_way(self, why: str) -> None:
        log.error("%s: this service ends", why)
        self.drain()
        self.on_lost()

    def _watch(self) -> None:
        cost_s = 0.0
        while not self._ends.wait(max(LOOK_EVERY_S, min(cost_s / LOOK_SHARE, MOST_SELDOM_S))):
            began = time.thread_time()
            self._try_to_look()
            cost_s = time.thread_time() - began

    def _try_to_look(self, changed: Sequence[str] = ()) -> None:
        try:
            with self._lock:
                if not self._ends.is_set():
                    self._look(changed)
            self._fault = ""
        except Exception as error:  # the queue is watched on
            kind = "" if isinstance(error, EXPECTED) else f"{type(error).__name__}: "
            self._fault = without_secrets(f"{kind}{error}")
            self.figures["failed_looks"] += 1
            self._logs.error("queue", f"the queue cannot be read: {self._fault}")

    def _look(self, changed: Sequence[str] = ()) -> None:
        """Read the queue, or runs that have changed; share out slots, start and end drivers."""
        now, found, began = self._clock(), list[QueuedJob](), time.monotonic()
        if self._runs is None or not changed:
            read = partial(queue.queued_runs, self._store)
            self._runs = self._shared.cache.get(("queue",), read, age_s=0.0)
        else:
            self._runs = [run for run in self._runs if run.info.run_id not in changed]
            runs = map(self._store.run, changed)  # a rerun has none
            self._runs += queue.ours(self._store, filter(None, runs))
        for job in queue.read(self._runs):  # whether their drivers live is looked at each time
            if job.state in UNDER_WAY or self._supervisor.pid(job.run_id):
                found.append(job)
            else:  # it has ended
                queue.leave(self._store, job.run_id)
        self.figures["store_seconds"] = time.monotonic() - began
        self._supervisor.look(found)
        self.figures["driver_deaths"] = self._supervisor.driver_deaths
        self._looked = now

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """What changes the queue, one after the other."""
        if self._ends.is_set():
            why = "the service ends, and takes no more requests; try again when it is back"
            raise ServiceEndsError(why)
        with self._lock:
            yield

    @contextlib.contextmanager
    def _changing(self) -> Iterator[list[str]]:
        """What changes runs, whose IDs it is given; whoever reads the queue afterwards sees it."""
        with self._alone():
            changed = list[str]()
            try:
                yield changed
            finally:
                self._shared.forget()
                if changed:
                    self._try_to_look(changed)

    @contextlib.contextmanager
    def _taken_out(self, name: str) -> Iterator[None]:
        """Take a sweep out of the queue, and end a driver that has not begun with it.

        If its last driver was ended, it waits from then on: so it can be paused and stopped.
        """
        with self._changing() as changed:
            run = reader.existing_sweep(self._store, name)
            run_id, tags = run.info.run_id, run.data.tags
            changed.append(run_id)
            queue.leave(self._store, run_id)
            self._supervisor.expect_end(run_id)
        state = tags.get(Tag.STATE)
        if state in UNDER_WAY and (state != "running" or lease.is_left(tags)):
            self._supervisor.end([run_id])  # one that has begun ends by itself
        if tags.get(Tag.QUEUED) == queue.QUEUED:
            queue.let_wait(self._store, run_id)
        try:
            yield
        finally:
            self._shared.forget()
