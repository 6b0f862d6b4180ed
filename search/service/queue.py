"""The queue of a service as it is read and shown, and the lease by which one service keeps it.

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
import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from typing_extensions import override

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions import queue
from lstm_sweep.search.actions.queue import QueuedRun, Submitted
from lstm_sweep.search.driver import lease
from lstm_sweep.search.driver.lease import BEAT_S, STALE_S, Lease, LeaseLostError
from lstm_sweep.search.store.cache import SharedStore, size_of_runs
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import MlflowStore, Store
from lstm_sweep.search.values.documents import Document

log = logging.getLogger("lstm_sweep.service")


class QueueReader:
    """The sweeps that a service is to drive, in step with what others read from the store."""

    def __init__(self, store: Store, shared: SharedStore) -> None:
        """`store` is read and written by the service, `shared` is what others read."""
        self._store, self._shared = store, shared

    def read(self) -> list[QueuedRun]:
        """All of them, oldest first; whether their drivers live is looked at each time.

        Raises:
            StoreError: the store does not answer.
        """
        runs = self._shared.cache.get(
            ("queue",), lambda: queue.queued_runs(self._store), size_of_runs, age_s=0.0
        )
        return queue.read(runs)

    def read_after_change(self, before: list[QueuedRun]) -> list[QueuedRun]:
        """All of them after a change by this service; those `before` if the store is away."""
        self._shared.forget()
        with contextlib.suppress(StoreError):
            return self.read()
        return before

    def read_after_submission(self, before: list[QueuedRun], made: Submitted) -> list[QueuedRun]:
        """Those `before`, and a sweep that was submitted just now: no other is read anew."""
        self._shared.forget(made.name)
        run = None
        with contextlib.suppress(StoreError):
            run = self._store.run(made.run_id)
        if run is None:
            return before  # the next look finds it, unless somebody has deleted it
        if run.data.tags.get(Tag.QUEUED) != queue.QUEUED:
            return before  # it was submitted earlier with the same token, and has ended
        others = [one for one in before if one.run_id != run.info.run_id]
        return [*others, *queue.read([run])]


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
        for name, value in (tags or {}).items():
            self._set(name, value)

    def _set(self, name: str, value: str) -> None:
        self.ask(lambda: self.client.set_experiment_tag(self.experiment.id, name, value))


class QueueLease:
    """The lease of this service on the queue of a store."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        """Take it, and lock the folder of the service.

        Raises:
            InputError: another service keeps the queue.
        """
        store = ExperimentTags(settings)
        store.prepare()
        before = lease.holder(store.tags(""))
        self._descriptor = _lock(folder)
        if self._descriptor is None:
            raise _refused(before, settings)
        self._is_file = settings.database_file is not None
        if not self._is_file and before and not before.is_here:
            log.warning("waiting up to %.0f s, since %s has kept the queue", STALE_S, before)
        if driver := lease.find_driver(store, "", watch_s=0.0 if self._is_file else STALE_S):
            os.close(self._descriptor)
            raise _refused(driver, settings)
        self._lease, self._over = Lease(store, ""), threading.Event()
        self._lease.take()

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
        """Let another service keep the queue."""
        if self._over.is_set() or self._descriptor is None:
            return
        self._over.set()
        self._lease.give_back("")
        os.close(self._descriptor)


def _refused(driver: lease.Holder | None, settings: Settings) -> InputError:
    who = f"another service, {driver}," if driver else "another service"
    return InputError(f"{who} keeps the queue of {settings}: expected one at a time")


def _lock(folder: Path) -> int | None:
    """A descriptor that locks the folder of a service; None if another one has locked it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:  # a file system without locks
        pass
    return descriptor
