"""At most one driver for each sweep: a lease in the tags of its run, which the driver renews.

A second driver on the same machine checks whether the process of the lease is running. On another
machine it watches for `STALE_S` whether the lease is renewed; it compares no times of clocks.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.process.scoped import start_ticks
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.tags import MOST_SECONDS, Tag, Tags, is_finite
from lstm_sweep.search.store.tracking import Store

#: in place of `running` if the sweep's driver has died
BROKEN_OFF = "broken off"
#: seconds between two renewals, and seconds without a renewal after which a lease is stale
BEAT_S, STALE_S = 5.0, 30.0


#: values of `Tag.STOP`: what a driver is asked for
END, PAUSE = "yes", "pause"
#: tokens of leases that this process has released, also of those that the store still has
_released: set[str] = set()


class LeaseLostError(StoreError):
    """Another driver has taken the sweep over."""


@dataclass(frozen=True)
class Holder:
    """The process that drives a sweep."""

    host: str
    #: ID of this boot and of the PID namespace, since several machines may have the same host name
    machine: str
    pid: int
    #: start of the process (`start_ticks`), to detect a PID that is used again
    born: int
    token: str
    #: number of renewals
    beat: int = 0
    #: total time for which the sweep has been driven
    seconds: float = 0.0

    @property
    def is_sound(self) -> bool:
        """Whether all fields have their types and ranges; they are read from the store."""
        texts, numbers = (self.host, self.machine, self.token), (self.pid, self.born, self.beat)
        return (
            all(isinstance(text, str) for text in texts)
            and all(type(number) is int for number in numbers)
            and is_finite(self.seconds)
            and 0 <= self.seconds <= MOST_SECONDS
        )

    @property
    def is_here(self) -> bool:
        return self.machine == _machine()

    @property
    def is_gone(self) -> bool:
        """Whether the process has certainly ended, or is this one and has released the lease."""
        return self.is_here and (
            start_ticks(self.pid) != self.born
            or (self.pid == os.getpid() and self.token in _released)
        )

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def holder(tags: Mapping[str, str]) -> Holder | None:
    text = tags.get(Tag.LEASE)
    try:
        found = Holder(**json.loads(text)) if text else None
    except (ValueError, TypeError, RecursionError):  # of another version or program
        return None
    return found if found and found.is_sound else None


def is_left(tags: dict[str, str]) -> bool:
    """Whether certainly no process drives the sweep with these tags, without watching."""
    driver = holder(tags)
    return driver is None or driver.is_gone


def state_of(run: Any) -> str:
    """State of a sweep by its run: that of its tags, or `BROKEN_OFF`."""
    state = reader.state_of(Tags(run))
    return BROKEN_OFF if state == "running" and is_left(run.data.tags) else state


def find_driver(
    store: Store,
    run_id: str,
    *,
    watch_s: float = STALE_S,
    sleep: Callable[[float], None] = time.sleep,
) -> Holder | None:
    """The driver of a sweep if it is running; watches a remote one for up to `watch_s` seconds."""
    first = holder(store.tags(run_id))
    if first is None or first.is_here:
        return None if first is None or first.is_gone else first
    watched = 0.0
    while watched < watch_s:
        sleep(min(1.0, watch_s))
        watched += min(1.0, watch_s)
        now = holder(store.tags(run_id))
        if now is None or now.is_gone:
            return None
        if now != first:
            return now
    return None


def stop(
    store: Store, run_id: str, sleep: Callable[[float], None] = time.sleep, *, how: str = END
) -> bool:
    """Ask the driver of a sweep to `END` or `PAUSE` it, and wait; return whether it has."""
    store.log(run_id, tags={Tag.STOP: how})
    if holder(store.tags(run_id)) is None:
        return False
    while find_driver(store, run_id, sleep=sleep):
        sleep(1.0)
        if not store.tags(run_id).get(Tag.STOP):  # the driver began just now, and has dropped it
            store.log(run_id, tags={Tag.STOP: how})
    return holder(store.tags(run_id)) is None


class Lease:
    """The lease of this process on a sweep."""

    def __init__(self, store: Store, run_id: str, seconds: float = 0.0) -> None:
        self._store, self.run_id = store, run_id
        #: what was asked for by the last renewal: `END`, `PAUSE`, or empty
        self.asked = ""
        #: when it was renewed last
        self._renewed = time.monotonic()
        pid = os.getpid()
        host, token = socket.gethostname(), uuid.uuid4().hex
        self.mine = Holder(host, _machine(), pid, start_ticks(pid), token, seconds=seconds)

    def release(self) -> None:
        """Note that this process is done with it, also if the store still has it."""
        _released.add(self.mine.token)

    def give_back(self, before: str) -> None:
        """Release it since nothing came of it; the store has the tag of `before` if it answers."""
        self.release()
        with contextlib.suppress(Exception):  # a lease that is released holds nobody up here
            if self._is_mine(self._store.tags(self.run_id)):
                self._store.log(self.run_id, tags={Tag.LEASE: before})

    @property
    def tag(self) -> dict[str, str]:
        return {Tag.LEASE: json.dumps(asdict(self.mine))}

    def take(self) -> None:
        """Write the lease, and check that no other process has written its own."""
        self._store.log(self.run_id, tags=self.tag)
        now = holder(self._store.tags(self.run_id))
        if now is None or now.token != self.mine.token:
            who = now or "another process"
            raise InputError(
                f"{who} is driving this sweep too; only one process may: expected that one to "
                "end, by itself or by `lstm-sweep stop NAME`"
            )

    def beat(self, seconds: float, more: Mapping[str, str] = MappingProxyType({})) -> bool:
        """Renew the lease, with `more` tags; return whether the sweep was asked to stop."""
        tags = self._store.tags(self.run_id)
        if not self._is_mine(tags):
            who = holder(tags) or "another process"
            raise LeaseLostError(f"{who} has taken the sweep over")
        self.mine = replace(self.mine, beat=self.mine.beat + 1, seconds=seconds)
        self._store.log(self.run_id, tags=self.tag | dict(more))
        self._renewed = time.monotonic()
        self.asked = tags.get(Tag.STOP, "")
        return bool(self.asked)

    def keep(self) -> None:
        """Renew it if that is due, while a sweep is read that takes long."""
        if time.monotonic() - self._renewed > BEAT_S:
            self.beat(self.mine.seconds)

    def _is_mine(self, tags: dict[str, str]) -> bool:
        now = holder(tags)
        return now is not None and now.token == self.mine.token


def _machine() -> str:
    """See `Holder.machine`; without Linux's /proc, the host name and a hardware address."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return f"{socket.gethostname()} {uuid.getnode():x}"


#: param of a sweep's run: `yes` if it owns its name, `no` if it cannot own it
OWNS_NAME = "owns_name"
#: tags of the run of a sweep that has withdrawn
WITHDRAWN = {Tag.ROLE: "withdrawn"}


def reserve_name(store: Store, name: str, run_id: str) -> bool:
    """Claim a name for a sweep whose run exists; if it does not own that, its run is withdrawn."""
    owns = _may_claim(store, name, run_id) and store.log_once(run_id, OWNS_NAME, "yes")
    if not owns:
        store.log(run_id, tags=WITHDRAWN)
    return owns


def _may_claim(store: Store, name: str, run_id: str) -> bool:
    same = store.runs({Tag.ROLE: "sweep", Tag.NAME: name})
    others = (run for run in same if run.info.run_id != run_id)
    if any(run.data.params.get(OWNS_NAME) == "yes" for run in others):  # it may have ended since
        return False
    under_way = [run.info for run in same if run.info.status == "RUNNING"]
    order = sorted(under_way, key=lambda info: (info.start_time, info.run_id))
    if order and order[0].run_id != run_id:
        return False
    for other in order[1:]:
        if not store.log_once(other.run_id, OWNS_NAME, "no"):
            return False
        store.log(other.run_id, tags=WITHDRAWN)
    return True
