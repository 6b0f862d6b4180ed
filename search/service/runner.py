"""The drivers of a service: processes that are started, found again, given slots, and ended.

Each has a file that it locks as long as it lives, beside its allotment and its log, in a folder of
the service. So a service that was killed finds them, and none is started twice. Whether a driver
gets on is seen by the lease of its sweep in the store, which it renews: `Beats`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lstm_sweep.search.engines import slot_sharing
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.process.signals import SERVICE_STOP_S, STOP_WITHIN
from lstm_sweep.search.service.logs import cut_open_log
from lstm_sweep.search.service.scheduler import duration
from lstm_sweep.search.sweep.lease import STALE_S, Holder

#: seconds before a driver that has died is started again, twice as many after each further death
AGAIN_S, LONGEST_AGAIN_S = 2.0, 300.0
#: deaths in a row after which a sweep is given up, and seconds of life that make up for them
MOST_DEATHS, FORGIVEN_S = 5, 600.0
#: seconds by which drivers are killed before the service would be, and by which they are told
#: that it comes, of which they leave a tenth
KILLED_AHEAD_S, TOLD_AHEAD_S = 8.0, 10.0
#: bytes of the log of a driver, of which as much is kept again, and logs that are kept
MOST_LOG_BYTES, MOST_LOGS = 4 << 20, 1_000
#: suffix of the file that a driver locks: its process, and how far its sweep is
LOCK = ".lock"
#: name of the file with the key that signs what the service has queued
KEY = "key"
#: bytes of what it says
LONGEST_NOTE = 64
#: seconds without a renewal of its lease after which a driver hangs, and after which one that has
#: no lease does: it reads its data before it has one, and draws pictures after it
HANGS_S, WITHOUT_LEASE_S = 90.0, 1800.0
#: seconds between two looks at a lease that count at most: in longer ones nobody has looked
UNSEEN_S = 10.0


@dataclass
class _Deaths:
    """How often the driver of a sweep has died."""

    count: int = 0
    #: how far the sweep was when it died last
    progress: tuple[int, int] = (0, 0)
    #: whether it was started, and has not been noted to have ended
    is_open: bool = False
    #: when it was started last, and when it may be started again; seconds of the clock
    started: float = 0.0
    again: float = 0.0


class Beats:
    """The leases of sweeps, as they were seen at each look: whether they are renewed."""

    def __init__(self) -> None:
        #: of each run: the token and the beat of its lease, since when it is seen with these, and
        #: when it was seen last; seconds of any clock
        self._seen: dict[str, tuple[tuple[str, int], float, float]] = {}

    def silent_s(self, run_id: str, driver: Holder | None, now: float) -> float:
        """For how long a lease was not renewed, or was missing, as far as somebody has looked."""
        beat = (driver.token, driver.beat) if driver else ("", 0)
        before, since, last = self._seen.get(run_id, (beat, now, now))
        since = since + max(0.0, now - last - UNSEEN_S) if before == beat else now
        self._seen[run_id] = (beat, since, now)
        return now - since

    def lives(self, run_id: str, driver: Holder, now: float) -> bool:
        """Whether a driver on another machine has renewed its lease of late."""
        return self.silent_s(run_id, driver, now) < STALE_S

    def hangs(self, run_id: str, driver: Holder | None, now: float) -> bool:
        """Whether a driver whose process lives gets on no more."""
        return self.silent_s(run_id, driver, now) >= (HANGS_S if driver else WITHOUT_LEASE_S)

    def forget(self, run_id: str) -> None:
        """Look anew at the lease of a sweep."""
        self._seen.pop(run_id, None)


class Runner:
    """Starts and ends the drivers of sweeps, which are named by their runs."""

    def __init__(
        self,
        state: Path,
        workplace: Path,
        clock: Callable[[], float] = time.monotonic,
        on: str = "",
        stop_within_s: float = SERVICE_STOP_S,
    ) -> None:
        """`on` is the engine of all sweeps, in place of their own; empty for theirs.

        `stop_within_s` is how long the service has to end, `SERVICE_STOP_S` or more.
        """
        self._end_within_s = stop_within_s - KILLED_AHEAD_S
        self._driver_stop_s = stop_within_s - TOLD_AHEAD_S
        self._state, self._workplace, self._clock = state, workplace, clock
        self._on = [on] if on else []
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._deaths: dict[str, _Deaths] = {}
        #: what was written to the allotment of each
        self._allotted: dict[str, tuple[int, str]] = {}
        #: drivers that were told to end, and when they are killed; seconds of the clock
        self._killed_at: dict[str, float] = {}
        #: sweeps of which no driver is started just now
        self._held: set[str] = set()
        #: held while a driver is started, and whether none is to be started any more
        self._starting, self._closed = threading.Lock(), False
        self._drop_old_logs()

    def pid(self, run_id: str) -> int | None:
        """The process that drives a sweep, started by this service or an earlier one, or None."""
        if child := self._child(run_id):
            return child
        try:
            descriptor = os.open(self._file(run_id), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _noted(descriptor)[0] or None
        finally:
            os.close(descriptor)
        return None

    def alive(self) -> list[str]:
        """The sweeps whose drivers are processes of this machine."""
        files = self._state.glob(f"*{LOCK}")
        named = {*(file.name.removesuffix(LOCK) for file in files), *list(self._children)}
        return sorted(run_id for run_id in named if self.pid(run_id))

    def _child(self, run_id: str) -> int | None:
        child = self._children.get(run_id)
        if child and child.poll() is not None:
            self._children.pop(run_id, None)
            return None
        return child.pid if child else None

    def start(self, run_id: str) -> None:
        """Start the driver of a sweep, in a session of its own; none after `close`."""
        log = self._state / f"{run_id}.log"
        module = "lstm_sweep.search.service.driver"
        with self._starting, log.open("ab") as out:
            if self._closed or run_id in self._held:
                return
            self._killed_at.pop(run_id, None)
            now, deaths = self._clock(), self._deaths.setdefault(run_id, _Deaths())
            deaths.started, deaths.is_open = now, True
            self._children[run_id] = subprocess.Popen(
                [sys.executable, "-P", "-m", module, run_id, str(self._file(run_id)), *self._on],
                cwd=self._workplace,
                env=os.environ
                | {
                    slot_sharing.ALLOTMENT: str(self._allotment(run_id)),
                    STOP_WITHIN: f"{self._driver_stop_s:g}",
                },
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def note_death(self, run_id: str) -> None:
        """Note that a driver which was started has ended before its sweep.

        Earlier deaths do not count if the sweep is further than it was at the last one.
        """
        deaths = self._deaths.setdefault(run_id, _Deaths())
        lived, progress = self._clock() - deaths.started, self._progress(run_id)
        forgiven = lived > FORGIVEN_S or progress > deaths.progress
        deaths.count, deaths.is_open = 1 if forgiven else deaths.count + 1, False
        deaths.progress = max(progress, deaths.progress)
        wait = min(LONGEST_AGAIN_S, AGAIN_S * 2 ** (deaths.count - 1))
        deaths.again = self._clock() + wait

    def expect_end(self, run_id: str) -> None:
        """Count the next end of a driver as no death: it is asked for."""
        if deaths := self._deaths.get(run_id):
            deaths.is_open = False

    @contextlib.contextmanager
    def holding(self, run_id: str) -> Iterator[None]:
        """Start no driver of a sweep meanwhile."""
        self._held.add(run_id)
        try:
            yield
        finally:
            self._held.discard(run_id)

    def was_started(self, run_id: str) -> bool:
        """Whether this service has started a driver whose end would be a death."""
        return run_id in self._deaths and self._deaths[run_id].is_open

    def may_start_in(self, run_id: str) -> float:
        """Seconds until the driver of a sweep may be started."""
        deaths = self._deaths.get(run_id)
        return max(0.0, deaths.again - self._clock()) if deaths else 0.0

    def deaths(self, run_id: str) -> int:
        """How often in a row the driver of a sweep has died."""
        return self._deaths[run_id].count if run_id in self._deaths else 0

    def starts_again(self, run_id: str) -> str:
        """Why the driver of a sweep may not be started just now, a sentence; empty if it may."""
        if not (wait := self.may_start_in(run_id)):
            return ""
        text, last = f"is started again in {duration(wait)}", self.last_words(run_id)
        more = f"; the last that it said: {last}" if last else ""
        return without_secrets(f"its driver has died, and {text}{more}")

    def last_words(self, run_id: str) -> str:
        """The last line of a driver's log."""
        with contextlib.suppress(OSError), (self._state / f"{run_id}.log").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 10_000))
            lines = log.read().decode("utf-8", "replace").strip().splitlines()
            return lines[-1] if lines else ""
        return ""

    def bound_log(self, run_id: str) -> None:
        """Begin the log of a driver anew if it has become too large, also while it runs."""
        cut_open_log(self._state / f"{run_id}.log", MOST_LOG_BYTES)

    def _drop_old_logs(self) -> None:
        """Delete the logs of sweeps whose drivers have written longest ago, if there are many."""
        with contextlib.suppress(OSError):
            logs = sorted(self._state.glob("*.log*"), key=lambda one: -one.stat().st_mtime)
            for old in logs[MOST_LOGS:]:
                old.unlink()

    def allot(self, run_id: str, slots: int, why: str, since: float) -> None:
        """Let a driver use so many slots; since when it has any or none, seconds of the clock.

        Raises:
            OSError: its file cannot be written.
        """
        if self._allotted.get(run_id) != (slots, why):
            at = time.time() - (self._clock() - since)
            slot_sharing.write_allotment(self._allotment(run_id), slots, why, at)
            self._allotted[run_id] = (slots, why)

    def last_allotted(self, run_id: str) -> tuple[int, float] | None:
        """Slots that an earlier service has given to a sweep, and since when it had any or none.

        None if there was no such service.
        """
        found = slot_sharing.last_allotment(self._allotment(run_id))
        if found is None:
            return None
        slots, at = found
        return slots, self._clock() - max(0.0, time.time() - at)

    def _progress(self, run_id: str) -> tuple[int, int]:
        """How far a sweep is by what its driver has noted: trials that ended, and rounds."""
        try:
            descriptor = os.open(self._file(run_id), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return 0, 0
        try:
            return _noted(descriptor)[1:]
        finally:
            os.close(descriptor)

    def demand(self, run_id: str) -> int | None:
        """How many slots a driver says it could use; None if it has not said."""
        return self._said(run_id, slot_sharing.DEMAND)

    def surplus(self, run_id: str) -> int:
        """How many slots a driver has that it is to give back once its trials can wait."""
        return self._said(run_id, slot_sharing.SURPLUS) or 0

    def _said(self, run_id: str, suffix: str) -> int | None:
        try:
            return int(self._allotment(run_id).with_suffix(suffix).read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None

    def forget(self, run_id: str) -> None:
        """Delete the files of a sweep whose driver has ended, but for its log."""
        self._deaths.pop(run_id, None)
        self._allotted.pop(run_id, None)
        self._killed_at.pop(run_id, None)
        allotment = self._allotment(run_id)
        suffixes = (slot_sharing.DEMAND, slot_sharing.SURPLUS)
        files = [allotment, *map(allotment.with_suffix, suffixes), self._file(run_id)]
        for file in files:
            with contextlib.suppress(OSError):
                file.unlink()

    def close(self) -> None:
        """Start no more drivers, and end all, also those that an earlier service has started."""
        with self._starting:
            self._closed = True
        self.end(self.alive())

    def end(self, run_ids: Iterable[str], within_s: float | None = None) -> None:
        """End drivers: SIGTERM, and SIGKILL for those that do not end in time."""
        within_s = self._end_within_s if within_s is None else within_s
        left = {run_id: pid for run_id in run_ids if (pid := self.terminate(run_id))}
        until = time.monotonic() + within_s
        while left and time.monotonic() < until:
            time.sleep(0.1)
            left = {run_id: pid for run_id in left if (pid := self.pid(run_id))}
        for pid in left.values():
            _send(pid, signal.SIGKILL)

    def terminate(self, run_id: str) -> int | None:
        """Ask a driver to end, which counts as no death; its process, or None if there is none."""
        self.expect_end(run_id)
        if pid := self.pid(run_id):
            _send(pid, signal.SIGTERM)
        return pid

    def end_hanging(self, run_id: str) -> None:
        """Ask a driver to end that gets on no more, which counts as a death; then kill it.

        It is to be called at each look as long as the driver lives.
        """
        pid, now = self.pid(run_id), self._clock()
        if not pid:
            return
        if run_id not in self._killed_at:
            self._killed_at[run_id] = now + self._end_within_s
            with contextlib.suppress(OSError), (self._state / f"{run_id}.log").open("ab") as log:
                log.write(b"it hung, and was ended by the service\n")
        _send(pid, signal.SIGKILL if now >= self._killed_at[run_id] else signal.SIGTERM)

    def _file(self, run_id: str) -> Path:
        return self._state / f"{run_id}{LOCK}"

    def _allotment(self, run_id: str) -> Path:
        return self._state / f"{run_id}.slots"


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def write_note(descriptor: int, progress: tuple[int, int] = (0, 0)) -> None:
    """Write to the file that a driver locks who it is, and how far its sweep is.

    That is how many trials have ended, and how many rounds the others have trained.
    """
    text = f"{os.getpid()} {progress[0]} {progress[1]}"
    os.pwrite(descriptor, f"{text:<{LONGEST_NOTE}}".encode(), 0)


def _noted(descriptor: int) -> tuple[int, int, int]:
    """What a driver has written to its file: its process, trials and rounds; 0 if it has not."""
    words = os.pread(descriptor, LONGEST_NOTE, 0).split()
    pid, trials, rounds = (int(one) if one.isdigit() else 0 for one in (*words, *[b"0"] * 3)[:3])
    return pid, trials, rounds
