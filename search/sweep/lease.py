"""One driver for each sweep: a lease in the tags of its run, renewed while the driver lives.

A store of runs has no locks. So a driver that comes later looks whether the process of the lease
lives, if that is on its machine. It does not trust clocks, which differ between machines and may
jump: of a process elsewhere it looks whether the lease is renewed while it watches.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.tags import Tag, is_finite
from lstm_sweep.search.store.tracking import Store, at_once

#: seconds between two renewals, and how long a lease is watched that is not renewed
BEAT_S, STALE_S = 5.0, 30.0


class LeaseLostError(StoreError):
    """Another driver has taken the sweep over."""


@dataclass(frozen=True)
class Holder:
    """Who drives a sweep."""

    host: str
    #: this boot of the machine and its space of process numbers; hosts may share a name
    machine: str
    pid: int
    #: start of the process in ticks of the kernel, so that a number used again is told apart
    born: int
    token: str
    #: goes up with every renewal
    beat: int = 0
    #: how long the sweep has been driven, in all
    seconds: float = 0.0

    @property
    def is_sound(self) -> bool:
        """Whether all fields are of their kinds, as nobody checks who has read them."""
        texts, numbers = (self.host, self.machine, self.token), (self.pid, self.born, self.beat)
        return (
            all(isinstance(text, str) for text in texts)
            and all(type(number) is int for number in numbers)
            and is_finite(self.seconds)
            and self.seconds >= 0
        )

    @property
    def is_here(self) -> bool:
        """Whether this driver is one of this machine, so that it is known whether it lives."""
        return self.machine == _machine()

    @property
    def is_gone(self) -> bool:
        """Whether it is certain that this driver has ended."""
        return self.is_here and _born(self.pid) != self.born

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def holder(tags: dict[str, str]) -> Holder | None:
    """Who drives the sweep with these tags; None if nobody has, or has left it in order."""
    text = tags.get(Tag.LEASE)
    try:
        found = Holder(**json.loads(text)) if text else None
    except (ValueError, TypeError, RecursionError):  # of another version, or written by hand
        return None
    return found if found and found.is_sound else None


def is_left(tags: dict[str, str]) -> bool:
    """Whether it is certain, without watching, that nobody drives the sweep with these tags."""
    driver = holder(tags)
    return driver is None or driver.is_gone


def is_driven(
    store: Store,
    run_id: str,
    *,
    watch_s: float = STALE_S,
    sleep: Callable[[float], None] = time.sleep,
) -> Holder | None:
    """The driver of a sweep, if it lives; takes up to `watch_s` seconds to be sure."""
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


def stop(store: Store, run_id: str, sleep: Callable[[float], None] = time.sleep) -> bool:
    """Ask the driver of a sweep to end it, and wait until it has.

    Returns whether there was one.
    """
    store.log(run_id, tags={Tag.STOP: "yes"})
    if holder(store.tags(run_id)) is None:
        return False
    while is_driven(store, run_id, sleep=sleep):
        sleep(1.0)
    return holder(store.tags(run_id)) is None


class Lease:
    """Held by the process that drives a sweep."""

    def __init__(self, store: Store, run_id: str, seconds: float = 0.0) -> None:
        self._store, self.run_id = store, run_id
        #: held by who writes the lease
        self._writing = threading.Lock()
        pid = os.getpid()
        host, token = socket.gethostname(), uuid.uuid4().hex
        self.mine = Holder(host, _machine(), pid, _born(pid), token, seconds=seconds)

    @property
    def tag(self) -> dict[str, str]:
        """The lease as a tag."""
        return {Tag.LEASE: json.dumps(asdict(self.mine))}

    def take(self) -> None:
        """Take the lease.

        Raises:
            InputError: another driver took it at the same time.
        """
        self._store.log(self.run_id, tags=self.tag)
        now = holder(self._store.tags(self.run_id))
        if now is None or now.token != self.mine.token:
            raise InputError(f"{now} began to drive this sweep at the same time, expected one")

    def beat(self, seconds: float) -> bool:
        """Renew the lease, `seconds` being those the sweep has been driven.

        Returns whether somebody has asked for the sweep to stop.

        Raises:
            LeaseLostError: another driver has it.
        """
        return self._renew(self._store, seconds)

    def _renew(self, store: Store, seconds: float, over: threading.Event | None = None) -> bool:
        tags = store.tags(self.run_id)
        if not self._is_mine(tags):
            raise LeaseLostError(f"{holder(tags)} has taken the sweep over")
        with self._writing:
            if over is None or not over.is_set():
                self.mine = replace(self.mine, beat=self.mine.beat + 1, seconds=seconds)
                store.log(self.run_id, tags=self.tag)
        return Tag.STOP in tags

    def _is_mine(self, tags: dict[str, str]) -> bool:
        now = holder(tags)
        return now is not None and now.token == self.mine.token

    @contextlib.contextmanager
    def beating(self, seconds: Callable[[], float]) -> Iterator[None]:
        """Renew the lease beside what is done meanwhile, which may take long; see `beat`.

        Whoever renews it next hears if somebody has asked for an end, or has taken the sweep over.
        Afterwards nothing is written beside any more: a renewal that is being written is waited
        for. If that is given up since an end is wanted, the renewal takes itself back.
        """
        beside = at_once(self._store)
        over, given_up = threading.Event(), threading.Event()

        def renew() -> None:
            while not over.wait(BEAT_S):
                with contextlib.suppress(Exception):  # there is a next time
                    self._renew(beside, seconds(), over)
            with contextlib.suppress(Exception):
                if given_up.is_set() and self._is_mine(beside.tags(self.run_id)):
                    beside.log(self.run_id, tags={Tag.LEASE: ""})

        threading.Thread(target=renew, name="lease", daemon=True).start()
        try:
            yield
        finally:
            over.set()
            try:
                with self._store.asking(), self._writing:
                    pass
            except BaseException as error:
                given_up.set()
                if not isinstance(error, TimeoutError):
                    raise


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return f"{socket.gethostname()} {uuid.getnode():x}"


def _born(pid: int) -> int:
    """When a process of this machine began; -1 if there is none, 0 where this cannot be told."""
    if not Path("/proc/self/stat").exists():
        return 0 if _lives(pid) else -1
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return -1
    fields = text.rpartition(")")[2].split()
    return -1 if fields[0] == "Z" else int(fields[19])


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
