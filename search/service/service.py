"""`Service`: a queue of sweeps in the store, and a driver process for each one that has slots."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from lstm_sweep.search.api.deletion import Deleted, Pruned
from lstm_sweep.search.api.lifecycle import StoppedSweep
from lstm_sweep.search.api.listings import SweepPage
from lstm_sweep.search.api.status_report import SweepStatusReport
from lstm_sweep.search.engines.local import find_slots
from lstm_sweep.search.process.signals import SERVICE_STOP_S
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.store.settings import Settings

#: priorities that a sweep may have; those with a higher one go first
PRIORITIES = range(-100, 101)


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """What a service was started with."""

    #: the store, which drivers use too; its settings file is that of `folder`
    store: Settings
    #: working folder of drivers: relative paths of specs start there
    folder: Path
    #: folder of the service itself, for the files of drivers: their locks, allotments and logs
    state: Path
    #: trials at once on this machine; None: one for each GPU or CPU core
    slots: int | None = None
    #: how many slots the Ray cluster has on which sweeps run, at most `slots` of which are used;
    #: None if they run on this machine
    cluster: Callable[[], int] | None = None
    #: seconds from a signal to the end that is forced, `SERVICE_STOP_S` or more
    stop_within_s: float = SERVICE_STOP_S
    #: slots that the sweeps of one user have together, at most; None: no limit
    most_per_user: int | None = None
    #: sweeps of one user that wait or run, at most
    most_queued_per_user: int = 1_000

    def count_slots(self) -> int:
        """How many trials may run at once."""
        if self.cluster:
            return min(self.cluster(), self.slots or sys.maxsize)
        return self.slots or len(find_slots())


@dataclass(frozen=True, kw_only=True)
class QueuedSweep:
    """A sweep that waits or runs, in the order in which slots are given."""

    sweep: str
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

    def to_dict(self) -> dict[str, Any]:
        """The sweep as JSON."""
        return vars(self) | {"submitted": self.submitted.isoformat()}


@dataclass(kw_only=True)
class Figures:
    """What a service counts of itself since it was started."""

    #: drivers that have ended before their sweeps, and looks at the queue that have failed
    driver_deaths: int = 0
    failed_looks: int = 0
    #: seconds that the queue took to be read from the store when it was read last
    store_s: float = 0.0


class Service(Protocol):
    """What the HTTP side calls; each method may be called from any thread.

    Methods raise `InputError` if what is asked for cannot be (`NoSuchRunError`, `SweepExistsError`,
    `SweepRunsError`, and `QueueFullError` if a user has too many sweeps, among them),
    `ServiceEndsError` once it ends, and `StoreError` if the store fails. Whatever only reads
    trials, reports or bundles asks `search.api` with `reads`.
    """

    settings: ServiceSettings
    figures: Figures
    #: `settings.store`, read once for all who ask; what this service has changed is seen at once
    reads: Settings

    def submit(
        self, spec: SweepSpec, *, owner: str, client_token: str | None = None, priority: int = 0
    ) -> str:
        """Queue a sweep; return its name.

        A second call of the owner with the same token queues nothing, and returns the same name.
        Without a name the spec is given that of its data and a number.
        """

    def sweeps(self, limit: int = 20, page: str = "") -> SweepPage:
        """Some sweeps of the store, as `search.api.sweeps`, with states as of `status`."""

    def queue(self) -> tuple[QueuedSweep, ...]:
        """Those that wait or run, in the order in which slots are given."""

    def status(self, name: str) -> SweepStatusReport:
        """The state of a sweep, as `search.api.status`; `why` also says for what it waits."""

    def pause(self, name: str) -> SweepStatusReport:
        """Let a sweep wait with its trials checkpointed until `resume`; its state from then on."""

    def resume(
        self, name: str, changes: Mapping[str, Any] | None = None, *, owner: str = ""
    ) -> SweepStatusReport:
        """Queue a sweep that is paused or has ended; `changes` as of `search.api.resume`.

        They add to those that it waits with. One that runs goes on, and is refused if that would
        change it.
        A sweep that was launched without a service belongs to `owner` from then on.
        """

    def stop(self, name: str) -> StoppedSweep:
        """End a sweep, and wait until it has ended."""

    def prioritise(self, name: str, priority: int) -> QueuedSweep:
        """Give a sweep that waits or runs another priority."""

    def delete(self, name: str, *, dry_run: bool = False) -> Deleted:
        """Delete a sweep that has ended, as `search.api.delete`, for a while."""

    def prune(
        self, *, older_than_s: float, keep_best: bool, dry_run: bool, owner: str | None
    ) -> Pruned:
        """Delete sweeps that ended long ago, as `search.api.prune`, for a while."""

    def owner(self, name: str) -> str | None:
        """Who has submitted a sweep; None if it was launched without a service."""

    def ready(self) -> str:
        """Why it cannot take sweeps just now; empty if it can."""

    def start(self) -> None:
        """Read the queue, finding drivers that run, and watch it from a thread of its own."""

    def drain(self) -> None:
        """End drivers with their trials checkpointed, within 20 s; the next start goes on."""
