"""The supervisor of a service: a process for each sweep and rerun of its queue that has slots.

The process of a sweep is its driver (`driver`), which is started again if it dies; that of a rerun
is the command `rerun`. Each locks a file as long as it lives, beside its quota of slots and its
log, in a folder of the service. So a service that was killed finds them, and none is started twice.
Whether a driver gets on is seen by the lease of its sweep in the store, which it renews: its sign
of life, on this machine and on others.
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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions.connection import SERVER, TOKEN
from lstm_sweep.search.driver.lease import STALE_S, Holder
from lstm_sweep.search.engines import slot_sharing
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.process.signals import STOP_WITHIN
from lstm_sweep.search.service.logs import cut_open_log, last_line
from lstm_sweep.search.service.queue import QueuedRun
from lstm_sweep.search.service.reruns import Reruns
from lstm_sweep.search.service.scheduler import JUST_NOW, Turns, Waiting, duration
from lstm_sweep.search.service.settings import ServiceSettings

#: seconds before a driver that has died is started again, twice as many after each further death
AGAIN_S, LONGEST_AGAIN_S = 2.0, 300.0
#: deaths in a row after which a sweep is given up, and seconds of life that make up for them
MOST_DEATHS, FORGIVEN_S = 5, 600.0
#: seconds for which a sweep keeps its slots while its driver is to be started again
KEPT_S = 5.0
#: seconds by which processes are killed before the service would be, and by which they are told
#: that it comes, of which they leave a tenth
KILLED_AHEAD_S, TOLD_AHEAD_S = 8.0, 10.0
#: drivers without slots that are kept, so that they go on at once; beyond that the one that waits
#: for longest is ended
MOST_IDLE = 4
#: bytes of the log of a driver, of which as much is kept again, and logs that are kept
MOST_LOG_BYTES, MOST_LOGS = 4 << 20, 1_000
#: suffix of the file that a process locks: its number, and how far its sweep is; and bytes of that
LOCK, LONGEST_NOTE = ".lock", 64
#: name of the file with the key that signs what the service has queued
KEY = "key"
#: seconds without a renewal of its lease after which a driver hangs, and after which one that has
#: no lease does: it reads its data before it has one, and draws pictures after it
HANGS_S, WITHOUT_LEASE_S = 90.0, 1800.0
#: seconds between two looks at a lease that count at most: in longer ones nobody has looked
UNSEEN_S = 10.0
#: states of sweeps that have a driver, or are to get one
UNDER_WAY = ("queued", "running", "interrupted")
DRIVER = "lstm_sweep.search.service.driver"
#: seconds until the process that counts slots is started again, and that it has to say a number
COUNT_AGAIN_S, COUNTED_WITHIN_S = 5.0, 180.0
COUNT = "lstm_sweep.search.engines.ray_cluster"


@dataclass
class _Known:
    """What is known of a sweep or rerun of the queue, and of its process."""

    #: the process, if this service has started it
    child: subprocess.Popen[bytes] | None = None
    #: the process by the last look; 0: on another machine, None: there is none
    pid: int | None = None
    #: whether it was started, and has not been noted to have ended
    is_open: bool = False
    #: deaths in a row, and how far the sweep was at the last one: trials that ended, and rounds
    deaths: int = 0
    progress: tuple[int, int] = (0, 0)
    #: when it was started last, when it may be started again, and when it is killed since it was
    #: told to end; seconds of the clock
    started: float = 0.0
    again: float = 0.0
    killed_at: float | None = None
    #: slots, and why not more, as they were written to its quota
    quota: tuple[int, str] | None = None
    #: token and beat of the lease as they were seen last, since when, and when
    beat: tuple[str, int] | None = None
    beat_since: float = 0.0
    beat_seen: float = 0.0

    def silent_s(self, driver: Holder | None, now: float) -> float:
        """For how long the lease was not renewed, or was missing, as far as somebody has looked."""
        beat = (driver.token, driver.beat) if driver else ("", 0)
        if self.beat == beat:
            self.beat_since += max(0.0, now - self.beat_seen - UNSEEN_S)
        else:
            self.beat, self.beat_since = beat, now
        self.beat_seen = now
        return now - self.beat_since


class Supervisor:
    """Gives the slots of a service to what is queued, and keeps the processes of that.

    Sweeps are named by their runs, reruns by their IDs.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        reruns: Reruns,
        clock: Callable[[], float] = time.monotonic,
        *,
        lease_of: Callable[[str], Holder | None] = lambda run_id: None,
        give_up: Callable[[str, str], None] = lambda run_id, why: None,
    ) -> None:
        """`lease_of` reads the lease of a sweep that is not queued; `give_up` closes one, and why.

        Raises:
            InputError: the slots of this machine cannot be counted.
        """
        self._settings, self._reruns, self._clock = settings, reruns, clock
        self._lease_of, self._give_up = lease_of, give_up
        self._state = settings.state
        #: how many slots there are
        self.slots = settings.count_slots()
        #: drivers that have ended before their sweeps
        self.driver_deaths = 0
        self.turns = Turns()
        self._known: dict[str, _Known] = {}
        #: sweeps of which no driver is started just now
        self._held: set[str] = set()
        #: held while a process is started, and whether none is to be started any more
        self._starting, self._closed = threading.Lock(), False
        self._drop_old_logs()

    # what the service asks at each look, and when something is queued

    def look(self, queue: Sequence[QueuedRun]) -> None:
        """See which processes live, share out the slots, and start and end processes."""
        now = self._clock()
        self._end_hanging(queue, now)
        for run_id in self._known.keys() - {one.run_id for one in queue}:
            if not self.pid(run_id):
                self.forget(run_id)
        for one in queue:
            self._remember(one, now)
            cut_open_log(self._log(one.run_id), MOST_LOG_BYTES)
            known = self._known[one.run_id]
            known.pid = self._process_of(one, now)
            if known.pid is None and known.is_open:
                self._note_end(one, known)
        self._share_out(queue, now)
        self._end_idle(queue)

    def enter(self, queue: Sequence[QueuedRun], run_id: str) -> bool:
        """Give what was queued just now its place; return whether the next look gives it a slot."""
        now = self._clock()
        for one in queue:
            self._remember(one, now)
        wanting = [self._waiting(one) for one in queue if self._may_have_slots(one)]
        most = self._settings.most_per_user
        return self.turns.enter(run_id, wanting, self.slots, now, most_per_user=most)

    def slots_of(self, run_id: str) -> int:
        """How many slots a sweep has."""
        return self.turns.held(run_id)

    def wanted(self, one: QueuedRun) -> int:
        """How many slots a sweep could use."""
        demand = self._said(one.run_id, slot_sharing.DEMAND)
        return max(self.slots_of(one.run_id), demand or self._most(one))

    def process(self, run_id: str) -> int | None:
        """The process of a sweep by the last look; 0 if that is on another machine."""
        return self._known[run_id].pid if run_id in self._known else None

    def waits(self, run_id: str) -> bool:
        """Whether a sweep has no process, or no slots."""
        return not self.slots_of(run_id) or self.process(run_id) is None

    def why(self, run_id: str, state: str) -> str | None:
        """Why a sweep in this state has no driver, or not all slots that it could use."""
        if wait := self.may_start_in(run_id):
            last = self.last_words(run_id)
            more = f"; the last that it said: {last}" if last else ""
            text = f"its driver has died, and is started again in {duration(wait)}{more}"
            return without_secrets(text)
        quota = self.turns.quotas.get(run_id)
        if quota is None:
            return JUST_NOW
        if quota.slots and state == "queued":
            return "its driver is being started"
        return quota.sentence or None

    # which processes live

    def pid(self, run_id: str) -> int | None:
        """The process of a sweep, started by this service or an earlier one, or None."""
        known = self._known.get(run_id)
        if known and known.child and known.child.poll() is None:
            return known.child.pid
        with contextlib.suppress(OSError):
            descriptor = os.open(self._file(run_id), os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _noted(descriptor)[0] or None
            finally:
                os.close(descriptor)
        return None

    def runs(self, run_id: str) -> bool:
        """Whether a sweep or rerun has a process, or had one whose end nobody has noted."""
        known = self._known.get(run_id)
        return (known is not None and known.is_open) or self.pid(run_id) is not None

    def alive(self) -> list[str]:
        """What has a process on this machine, be it in the queue or not."""
        files = self._state.glob(f"*{LOCK}")
        named = {*(file.name.removesuffix(LOCK) for file in files), *list(self._known)}
        return sorted(run_id for run_id in named if self.pid(run_id))

    def _process_of(self, one: QueuedRun, now: float) -> int | None:
        """The process of a sweep; 0 if that is on another machine."""
        if pid := self.pid(one.run_id):
            return pid
        if one.driver is None or one.driver.is_here:
            return one.driver.pid if one.driver else None
        return 0 if self._known[one.run_id].silent_s(one.driver, now) < STALE_S else None

    def _end_hanging(self, queue: Sequence[QueuedRun], now: float) -> None:
        """End drivers that get on no more, also those whose sweeps are to be paused or stopped."""
        queued = {one.run_id: one for one in queue}
        for run_id in self.alive():
            one = queued.get(run_id)
            if self._reruns.has(run_id):
                continue
            driver = one.driver if one else self._lease_of(run_id)
            silent_s = self._known.setdefault(run_id, _Known()).silent_s(driver, now)
            if silent_s >= (HANGS_S if driver else WITHOUT_LEASE_S):
                self._end_one_that_hangs(run_id, now)

    def _end_one_that_hangs(self, run_id: str, now: float) -> None:
        """Ask a driver to end, which counts as a death; at a later look kill it."""
        known, pid = self._known[run_id], self.pid(run_id)
        if not pid:
            return
        if known.killed_at is None:
            known.killed_at = now + self._end_within_s
            with contextlib.suppress(OSError), self._log(run_id).open("ab") as log:
                log.write(b"it hung, and was ended by the service\n")
        _send(pid, signal.SIGKILL if now >= known.killed_at else signal.SIGTERM)

    # who has slots

    def _remember(self, one: QueuedRun, now: float) -> None:
        """Take up the slots that an earlier service has given to a sweep, and since when."""
        self._known.setdefault(one.run_id, _Known())
        if one.run_id not in self.turns.since:
            self.turns.remember(one.run_id, now, self._last_quota(one.run_id, now))

    def _last_quota(self, run_id: str, now: float) -> tuple[int, float] | None:
        last = slot_sharing.last_quota(self._quota_file(run_id))
        if last is None:
            return None
        slots, at = last
        return slots, now - max(0.0, time.time() - at)

    def _may_have_slots(self, one: QueuedRun) -> bool:
        return one.state in UNDER_WAY and self.may_start_in(one.run_id) <= KEPT_S

    def _share_out(self, queue: Sequence[QueuedRun], now: float) -> None:
        """Give slots to what has a process, or may soon; start those that lack one.

        A sweep whose driver has died just now keeps its slots for the one that follows.
        """
        if self._settings.cluster:
            self.slots = self._settings.count_slots()
        may = {one.run_id: one for one in queue if self._may_have_slots(one)}
        found = self.turns.share_out(
            [self._waiting(one) for one in may.values()],
            [self._waiting(one) for one in queue if one.run_id not in may],
            self.slots,
            now,
            is_late=any(
                self._said(one.run_id, slot_sharing.SURPLUS)
                for one in queue
                if self._known[one.run_id].pid
            ),
            most_per_user=self._settings.most_per_user,
        )
        for quota in found:
            self._write_quota(quota.name, quota.slots, quota.why, now)
            one = may[quota.name]
            is_due = self._known[quota.name].pid is None and not self.may_start_in(quota.name)
            if quota.slots and is_due and (one.rerun is None or one.state == "queued"):
                self.start(quota.name)

    def _waiting(self, one: QueuedRun) -> Waiting:
        pid = self._known[one.run_id].pid
        demand = self._said(one.run_id, slot_sharing.DEMAND) if pid else None
        return Waiting(
            name=one.run_id,
            owner=one.owner,
            priority=one.priority,
            submitted=one.submitted,
            wanted=max(1, self._most(one) if demand is None else demand),
            left_s=one.seconds_left,
            is_rerun=one.rerun is not None,
            stays=one.rerun is not None and one.state == "running",
        )

    def _most(self, one: QueuedRun) -> int:
        """How many slots a sweep could use as far as its run says."""
        return min(one.workers or self.slots, one.trials_left)

    def _write_quota(self, run_id: str, slots: int, why: str, now: float) -> None:
        """Let a process use so many slots.

        Raises:
            OSError: its file cannot be written.
        """
        known = self._known[run_id]
        if known.quota != (slots, why):
            at = time.time() - (now - self.turns.since[run_id])
            slot_sharing.write_quota(self._quota_file(run_id), slots, why, at)
            known.quota = (slots, why)

    def _said(self, run_id: str, suffix: str) -> int | None:
        """How many slots a driver says it could use, or has that it is to give back."""
        try:
            return int(self._quota_file(run_id).with_suffix(suffix).read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None

    # how processes begin

    def start(self, run_id: str) -> None:
        """Start the process of a sweep or rerun, in a session of its own; none after `close`."""
        command = [sys.executable, "-P", "-m", DRIVER, run_id, str(self._file(run_id))]
        with contextlib.ExitStack() as files, self._starting:
            if self._closed or run_id in self._held:
                return
            if self._reruns.has(run_id):
                command += ["--", *self._reruns.command(run_id)]
                out, errors = (files.enter_context(one) for one in self._reruns.open(run_id))
            else:
                command += ["ray"] if self._settings.cluster else []
                out = errors = files.enter_context(self._log(run_id).open("ab"))
            known = self._known.setdefault(run_id, _Known())
            known.killed_at, known.started, known.is_open = None, self._clock(), True
            known.child = subprocess.Popen(
                command,
                cwd=self._settings.folder,
                env=self._environment(run_id),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                start_new_session=True,
            )

    def _environment(self, run_id: str) -> dict[str, str]:
        """The environment of a process; a command asks no service in the place of this one."""
        own = {name: text for name, text in os.environ.items() if name not in (SERVER, TOKEN)}
        stop_s = self._settings.stop_within_s - TOLD_AHEAD_S
        return own | {
            slot_sharing.QUOTA: str(self._quota_file(run_id)),
            STOP_WITHIN: f"{stop_s:g}",
        }

    @contextlib.contextmanager
    def holding(self, run_id: str) -> Iterator[None]:
        """Start no driver of a sweep meanwhile."""
        self._held.add(run_id)
        try:
            yield
        finally:
            self._held.discard(run_id)

    # how they end

    def _note_end(self, one: QueuedRun, known: _Known) -> None:
        """Note the end of a rerun, or start a driver that has died again later.

        Earlier deaths do not count if the sweep is further than it was at the last one. After
        `MOST_DEATHS` in a row the sweep is given up.
        """
        known.is_open = False
        if one.rerun is not None:
            self._reruns.note_end(one.run_id, known.child.poll() if known.child else None)
            return
        now, progress = self._clock(), self._progress(one.run_id)
        forgiven = now - known.started > FORGIVEN_S or progress > known.progress
        known.deaths = 1 if forgiven else known.deaths + 1
        known.progress = max(progress, known.progress)
        known.again = now + min(LONGEST_AGAIN_S, AGAIN_S * 2 ** (known.deaths - 1))
        self.driver_deaths += 1
        if known.deaths >= MOST_DEATHS:
            last = self.last_words(one.run_id)
            why = f"its driver has died {MOST_DEATHS} times in a row; the last that it said: {last}"
            self._give_up(one.run_id, without_secrets(why))

    def _progress(self, run_id: str) -> tuple[int, int]:
        """How far a sweep is by what its driver has noted: trials that ended, and rounds."""
        with contextlib.suppress(OSError):
            descriptor = os.open(self._file(run_id), os.O_RDONLY | os.O_CLOEXEC)
            try:
                return _noted(descriptor)[1:]
            finally:
                os.close(descriptor)
        return 0, 0

    def may_start_in(self, run_id: str) -> float:
        """Seconds until the driver of a sweep may be started."""
        return max(0.0, self._known[run_id].again - self._clock()) if run_id in self._known else 0.0

    def last_words(self, run_id: str) -> str:
        """The last line of a driver's log."""
        return last_line(self._log(run_id))

    def expect_end(self, run_id: str) -> None:
        """Count the next end of a driver as no death: it is asked for."""
        if known := self._known.get(run_id):
            known.is_open = False

    def _end_idle(self, queue: Sequence[QueuedRun]) -> None:
        """End drivers that wait without slots, those that have waited for longest."""
        own = [one.run_id for one in queue if self.pid(one.run_id)]
        idle = [run_id for run_id in own if not self.slots_of(run_id)]
        idle.sort(key=self.turns.since.__getitem__)
        for run_id in idle[: max(0, len(idle) - MOST_IDLE)]:
            self._terminate(run_id)

    def close(self) -> None:
        """Start no more processes, and end all, also those that an earlier service has started."""
        with self._starting:
            self._closed = True
        self.end(self.alive())

    @property
    def _end_within_s(self) -> float:
        """How long a process has to end."""
        return self._settings.stop_within_s - KILLED_AHEAD_S

    def end(self, run_ids: Iterable[str], within_s: float | None = None) -> None:
        """End processes: SIGTERM, and SIGKILL for those that do not end in time."""
        within_s = self._end_within_s if within_s is None else within_s
        left = {run_id: pid for run_id in run_ids if (pid := self._terminate(run_id))}
        until = time.monotonic() + within_s
        while left and time.monotonic() < until:
            time.sleep(0.1)
            left = {run_id: pid for run_id in left if (pid := self.pid(run_id))}
        for pid in left.values():
            _send(pid, signal.SIGKILL)

    def _terminate(self, run_id: str) -> int | None:
        """Ask a process to end, which counts as no death; its number, or None if there is none."""
        self.expect_end(run_id)
        if pid := self.pid(run_id):
            _send(pid, signal.SIGTERM)
        return pid

    def forget(self, run_id: str) -> None:
        """Delete the files of a sweep whose process has ended, but for its log."""
        self._known.pop(run_id, None)
        self.turns.forget(run_id)
        quota = self._quota_file(run_id)
        suffixes = (slot_sharing.DEMAND, slot_sharing.SURPLUS)
        for file in (quota, *map(quota.with_suffix, suffixes), self._file(run_id)):
            with contextlib.suppress(OSError):
                file.unlink()

    def _drop_old_logs(self) -> None:
        """Delete the logs of sweeps whose drivers have written longest ago, if there are many."""
        with contextlib.suppress(OSError):
            logs = sorted(self._state.glob("*.log*"), key=lambda one: -one.stat().st_mtime)
            for old in logs[MOST_LOGS:]:
                old.unlink()

    def _file(self, run_id: str) -> Path:
        return self._state / f"{run_id}{LOCK}"

    def _quota_file(self, run_id: str) -> Path:
        return self._state / f"{run_id}.slots"

    def _log(self, run_id: str) -> Path:
        return self._state / f"{run_id}.log"


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def write_note(descriptor: int, progress: tuple[int, int] = (0, 0)) -> None:
    """Write to the file that a process locks which one it is, and how far its sweep is.

    That is how many trials have ended, and how many rounds the others have trained.
    """
    text = f"{os.getpid()} {progress[0]} {progress[1]}"
    os.pwrite(descriptor, f"{text:<{LONGEST_NOTE}}".encode(), 0)


def _noted(descriptor: int) -> tuple[int, int, int]:
    """What a process has written to its file: its number, trials and rounds; 0 if it has not."""
    words = os.pread(descriptor, LONGEST_NOTE, 0).split()
    pid, trials, rounds = (int(one) if one.isdigit() else 0 for one in (*words, *[b"0"] * 3)[:3])
    return pid, trials, rounds


class ClusterSlots:
    """The number of slots of the cluster that `RAY_ADDRESS` names, or of this machine's."""

    def __init__(self) -> None:
        #: the last number that is known
        self._count = 0
        self._said = ""
        self._child: subprocess.Popen[str] | None = None
        self._known, self._ends = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="cluster", daemon=True)

    def __call__(self) -> int:
        """How many there are; while the cluster does not answer, how many there were."""
        return self._count

    def start(self) -> None:
        """Begin to count.

        Raises:
            InputError: there is no cluster that this machine can join.
        """
        self._thread.start()
        if not self._known.wait(COUNTED_WITHIN_S) or not self._said.isdecimal():
            self.close()
            raise InputError(self._said or "--on ray: the cluster does not answer")

    def close(self) -> None:
        """End the process."""
        self._ends.set()
        with self._lock:
            if self._child:
                self._child.terminate()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ends.is_set():
            with self._lock:
                if self._ends.is_set():
                    return
                child = self._child = subprocess.Popen(
                    [sys.executable, "-P", "-m", COUNT],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    start_new_session=True,
                )
            assert child.stdout
            with child:
                for line in child.stdout:
                    self._said = line.strip()
                    if self._said.isdecimal():
                        self._count = int(self._said)
                    self._known.set()
            self._known.set()
            self._ends.wait(COUNT_AGAIN_S)
