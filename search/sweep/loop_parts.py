"""The parts that the loop of a sweep uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lstm_sweep.search.engines.base import Engine
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.process.interrupts import Interrupts
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.journal import Journal
from lstm_sweep.search.sweep.history import History
from lstm_sweep.search.sweep.inbox import Inbox
from lstm_sweep.search.sweep.lease import Lease
from lstm_sweep.search.sweep.observer import Viewer
from lstm_sweep.search.sweep.task import Task


@dataclass(frozen=True, kw_only=True)
class LoopParts:
    """The parts that the loop of a sweep uses, once the sweep has begun."""

    spec: SweepSpec
    task: Task
    history: History
    policy: Policy
    engine: Engine
    inbox: Inbox
    journal: Journal
    lease: Lease
    interrupts: Interrupts
    viewer: Viewer
    #: the sweep's folder on this machine, with what workers need in it
    folder: Path
    #: seconds of silence after which a trial may count as hung
    silent_s: float


@contextmanager
def needing_room(where: str) -> Iterator[None]:
    """Write files on this machine.

    Raises:
        StoreError: they cannot be written.
    """
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise StoreError(f"{where}: {why}, expected room to work") from error
