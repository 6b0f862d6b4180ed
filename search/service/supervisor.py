"""The supervisor of a service: its table of jobs, and a process for each that has slots.

A job is a sweep or rerun of the queue, or one that has left it and still has a process. The process
of a sweep is its driver (`driver`), which is started again if it dies; that of a rerun is the
command `rerun`. Each locks a file as long as it lives, beside its quota of slots and its log, in a
folder of the service. So a service that was killed finds them, and none is started twice. Whether
a driver gets on is seen by the lease of its sweep in the store, which it renews: its sign of life,
on this machine and on others.
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
from datetime import UTC, datetime
from pathlib import Path

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions.connection import SERVER, TOKEN
from lstm_sweep.search.driver.lease import BROKEN_OFF, STALE_S, Holder
from lstm_sweep.search.engines import slot_sharing
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.process.signals import STOP_WITHIN
from lstm_sweep.search.service.logs import cut_open_log, last_line
from lstm_sweep.search.service.queue import QueuedRun, QueuedSweep
from lstm_sweep.search.service.reruns import Reruns
from lstm_sweep.search.service.scheduler import Turns, Waiting, duration
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
#: suffixes of files: the one that a process locks, with its number and how far its sweep is (in so
#: many bytes), its quota, and its log
LOCK, LONGEST_NOTE, SLOTS, LOG = ".lock", 64, ".slots", ".log"
#: name of the file with the key that signs what the service has queued
KEY = "key"
#: seconds without a renewal of its lease after which a driver hangs, and after which one that has
#: no lease does: it reads its data before it has one, and draws pictures after it
HANGS_S, WITHOUT_LEASE_S = 90.0, 1800.0
#: seconds between two looks at a lease that count at most: in longer ones nobody has looked
UNSEEN_S = 10.0
#: states of sweeps that have a driver, or are to get one
UNDER_WAY = ("queued", "running", "interrupted")
#: why a job has no slot until slots are shared out again
JUST_NOW = "was queued just now"
DRIVER = "lstm_sweep.search.service.driver"
#: seconds until the process that counts slots is started again, and that it has to say a number
COUNT_AGAIN_S, COUNTED_WITHIN_S = 5.0, 180.0
COUNT = "lstm_sweep.search.engines.ray_cluster"


@dataclass
class Job:
    """What is known of a sweep or rerun, and of its process."""

    #: what was read of it last, while it is in the queue
    run: QueuedRun | None = None
    #: the process, if this service has started it
    child: subprocess.Popen[bytes] | None = None
    #: the process by the last look; 0: on another machine, None: there is none
    pid: int | None = None
    #: whether it was started, and has not been noted to have ended
    is_open: bool = False
    #: whether no process is started just now
    is_held: bool = False
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
        #: how many slots there are
        self.slots = settings.count_slots()
        #: drivers that have ended before their sweeps
        self.driver_deaths = 0
        self.turns = Turns()
        self.jobs: dict[str, Job] = {}
        #: held while a process is started, and whether none is to be started any more
        self._starting, self._closed = threading.Lock(), False
        self._drop_old_logs()

    # the queue, as it is shown

    def queued(self, run_id: str) -> QueuedRun | None:
        """What is known of a sweep or rerun of the queue; None if it is not in it."""
        return self.jobs[run_id].run if run_id in self.jobs else None

    def queue(self) -> list[QueuedRun]:
        """Those that wait or run, in the order in which slots are given."""
        order = [*self.turns.quotas, *list(self.jobs)]
        return [run for run_id in dict.fromkeys(order) if (run := self.queued(run_id))]

    @property
    def has_free_slots(self) -> bool:
        """Whether nobody has some of the slots, as far as the last look has shared them out."""
        return sum(quota.slots for quota in list(self.turns.quotas.values())) < self.slots

    def enter(self, run: QueuedRun) -> None:
        """Take up what was queued just now; the next look gives it its place."""
        self._job(run.run_id).run = run

    def state(self, run: QueuedRun, stored: str) -> str:
        """The state of a sweep in the queue, by that in the store.

        That is how an earlier driver has ended until the next one begins: meanwhile it waits.
        """
        if stored not in (*UNDER_WAY, BROKEN_OFF):
            return stored
        waits = stored != "running" or not self.turns.held(run.run_id)
        return "queued" if waits or self._job(run.run_id).pid is None else "running"

    def why(self, run_id: str, state: str) -> str | None:
        """Why a sweep in this state has no driver, or not all slots that it could use."""
        if wait := self.may_start_in(run_id):
            last = last_line(self._file(run_id, LOG))
            more = f"; the last that it said: {last}" if last else ""
            text = f"its driver has died, and is started again in {duration(wait)}{more}"
            return without_secrets(text)
        quota = self.turns.quotas.get(run_id)
        if quota is None:
            return JUST_NOW
        if quota.slots and state == "queued":
            return "its driver is being started"
        return quota.sentence or None

    def shown(self, run: QueuedRun) -> QueuedSweep:
        """What is said of a sweep or rerun of the queue."""
        run_id, slots = run.run_id, self.turns.held(run.run_id)
        demand = self._said(run_id, slot_sharing.DEMAND)
        return QueuedSweep(
            sweep=run.name,
            run_id=run_id,
            owner=run.owner,
            priority=run.priority,
            submitted=datetime.fromtimestamp(run.submitted, UTC),
            slots=slots,
            wanted=max(slots, demand or self._most(run)),
            driver=self._job(run_id).pid or None,
            why=self.why(run_id, self.state(run, run.state)) or "",
        )

    # what the service asks at each look

    def look(self, queue: Sequence[QueuedRun]) -> None:
        """See which processes live, share out the slots, and start and end processes."""
        now = self._clock()
        for run in queue:
            self.enter(run)
        for run_id in self.jobs.keys() - {run.run_id for run in queue}:
            self.jobs[run_id].run = None
            if not self.jobs[run_id].is_held and not self.pid(run_id):
                self.forget(run_id)
        self._end_hanging(now)
        for run in queue:
            job = self.jobs[run.run_id]
            cut_open_log(self._file(run.run_id, LOG), MOST_LOG_BYTES)
            job.pid = self._process_of(run, job, now)
            if job.pid is None and job.is_open:
                self._note_end(run, job)
        self._share_out(queue, now)
        self._end_idle(queue)

    def _job(self, run_id: str) -> Job:
        return self.jobs.setdefault(run_id, Job())

    # which processes live

    def pid(self, run_id: str) -> int | None:
        """The process of a sweep, started by this service or an earlier one, or None."""
        job = self.jobs.get(run_id)
        if job and job.child and job.child.poll() is None:
            return job.child.pid
        is_locked, note = self._read_lock(run_id)
        return note[0] or None if is_locked else None

    def _read_lock(self, run_id: str) -> tuple[bool, list[int]]:
        """Whether a process has locked its file, and what `write_note` has written to it."""
        try:
            descriptor = os.open(self._file(run_id, LOCK), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False, [0, 0, 0]
        try:
            words = [*os.pread(descriptor, LONGEST_NOTE, 0).split(), *[b"0"] * 3][:3]
            note = [int(one) if one.isdigit() else 0 for one in words]
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True, note
        except OSError:
            return False, [0, 0, 0]
        finally:
            os.close(descriptor)
        return False, note

    def runs(self, run_id: str) -> bool:
        """Whether a sweep or rerun has a process, or had one whose end nobody has noted."""
        job = self.jobs.get(run_id)
        return (job is not None and job.is_open) or self.pid(run_id) is not None

    def alive(self) -> list[str]:
        """What has a process on this machine, be it in the queue or not."""
        files = self._settings.state.glob(f"*{LOCK}")
        named = {*(file.name.removesuffix(LOCK) for file in files), *list(self.jobs)}
        return sorted(run_id for run_id in named if self.pid(run_id))

    def _process_of(self, run: QueuedRun, job: Job, now: float) -> int | None:
        """The process of a sweep; 0 if that is on another machine."""
        if pid := self.pid(run.run_id):
            return pid
        if run.driver is None or run.driver.is_here:
            return run.driver.pid if run.driver else None
        return 0 if job.silent_s(run.driver, now) < STALE_S else None

    def _end_hanging(self, now: float) -> None:
        """End drivers that get on no more, also those whose sweeps are to be paused or stopped.

        They are asked to end, which counts as a death, and killed at a later look.
        """
        for run_id in self.alive():
            if self._reruns.has(run_id):
                continue
            job = self._job(run_id)
            driver = job.run.driver if job.run else self._lease_of(run_id)
            hangs = job.silent_s(driver, now) >= (HANGS_S if driver else WITHOUT_LEASE_S)
            if not hangs or not (pid := self.pid(run_id)):
                continue
            if job.killed_at is None:
                job.killed_at = now + self._end_within_s
                with contextlib.suppress(OSError), self._file(run_id, LOG).open("ab") as log:
                    log.write(b"it hung, and was ended by the service\n")
            _send(pid, signal.SIGKILL if now >= job.killed_at else signal.SIGTERM)

    # who has slots

    def _share_out(self, queue: Sequence[QueuedRun], now: float) -> None:
        """Give slots to what has a process, or may soon; start those that lack one.

        A sweep whose driver has died just now keeps its slots for the one that follows. One that an
        earlier service has given slots keeps them.
        """
        if self._settings.cluster:
            self.slots = self._settings.count_slots()
        for run in queue:
            if run.run_id not in self.turns.since:
                last = slot_sharing.last_quota(self._file(run.run_id, SLOTS))
                had = last and (last[0], now - max(0.0, time.time() - last[1]))
                self.turns.remember(run.run_id, now, had)
        may = {
            run.run_id: run
            for run in queue
            if run.state in UNDER_WAY and self.may_start_in(run.run_id) <= KEPT_S
        }
        found = self.turns.share_out(
            [self._waiting(run) for run in may.values()],
            [self._waiting(run) for run in queue if run.run_id not in may],
            self.slots,
            now,
            is_late=any(
                self._said(run.run_id, slot_sharing.SURPLUS)
                for run in queue
                if self.jobs[run.run_id].pid
            ),
            most_per_user=self._settings.most_per_user,
        )
        for quota in found:
            run, job = may[quota.name], self.jobs[quota.name]
            if job.quota != (quota.slots, quota.why):
                at = time.time() - (now - self.turns.since[quota.name])
                file = self._file(quota.name, SLOTS)
                slot_sharing.write_quota(file, quota.slots, quota.why, at)
                job.quota = (quota.slots, quota.why)
            is_due = job.pid is None and not self.may_start_in(quota.name)
            if quota.slots and is_due and (run.rerun is None or run.state == "queued"):
                self.start(quota.name)

    def _waiting(self, run: QueuedRun) -> Waiting:
        pid = self.jobs[run.run_id].pid
        demand = self._said(run.run_id, slot_sharing.DEMAND) if pid else None
        return Waiting(
            name=run.run_id,
            owner=run.owner,
            priority=run.priority,
            submitted=run.submitted,
            wanted=max(1, self._most(run) if demand is None else demand),
            left_s=run.seconds_left,
            is_rerun=run.rerun is not None,
            stays=run.rerun is not None and run.state == "running",
        )

    def _most(self, run: QueuedRun) -> int:
        """How many slots a sweep could use as far as its run says."""
        return min(run.workers or self.slots, run.trials_left)

    def _said(self, run_id: str, suffix: str) -> int | None:
        """How many slots a driver says it could use, or has that it is to give back."""
        try:
            return int(self._file(run_id, suffix).read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None

    # how processes begin

    def start(self, run_id: str) -> None:
        """Start the process of a sweep or rerun, in a session of its own; none after `close`."""
        command = [sys.executable, "-P", "-m", DRIVER, run_id, str(self._file(run_id, LOCK))]
        stop_s = self._settings.stop_within_s - TOLD_AHEAD_S
        # a command asks no service in the place of this one
        own = {name: text for name, text in os.environ.items() if name not in (SERVER, TOKEN)}
        own[slot_sharing.QUOTA] = str(self._file(run_id, SLOTS))
        own[STOP_WITHIN] = f"{stop_s:g}"
        with contextlib.ExitStack() as files, self._starting:
            job = self._job(run_id)
            if self._closed or job.is_held:
                return
            if self._reruns.has(run_id):
                command += ["--", *self._reruns.command(run_id)]
                out, errors = (files.enter_context(one) for one in self._reruns.open(run_id))
            else:
                command += ["ray"] if self._settings.cluster else []
                out = errors = files.enter_context(self._file(run_id, LOG).open("ab"))
            job.killed_at, job.started, job.is_open = None, self._clock(), True
            job.child = subprocess.Popen(
                command,
                cwd=self._settings.folder,
                env=own,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                start_new_session=True,
            )
            job.pid = job.child.pid

    @contextlib.contextmanager
    def holding(self, run_id: str) -> Iterator[None]:
        """Start no driver of a sweep meanwhile."""
        job = self._job(run_id)
        job.is_held = True
        try:
            yield
        finally:
            job.is_held = False

    def may_start_in(self, run_id: str) -> float:
        """Seconds until the driver of a sweep may be started."""
        return max(0.0, self.jobs[run_id].again - self._clock()) if run_id in self.jobs else 0.0

    # how they end

    def _note_end(self, run: QueuedRun, job: Job) -> None:
        """Note the end of a rerun, or start a driver that has died again later.

        Earlier deaths do not count if the sweep is further than it was at the last one. After
        `MOST_DEATHS` in a row the sweep is given up.
        """
        job.is_open = False
        if run.rerun is not None:
            self._reruns.note_end(run.run_id, job.child.poll() if job.child else None)
            return
        _, (_, trials, rounds) = self._read_lock(run.run_id)
        now, progress = self._clock(), (trials, rounds)
        forgiven = now - job.started > FORGIVEN_S or progress > job.progress
        job.deaths = 1 if forgiven else job.deaths + 1
        job.progress = max(progress, job.progress)
        job.again = now + min(LONGEST_AGAIN_S, AGAIN_S * 2 ** (job.deaths - 1))
        self.driver_deaths += 1
        if job.deaths >= MOST_DEATHS:
            last = last_line(self._file(run.run_id, LOG))
            why = f"its driver has died {MOST_DEATHS} times in a row; the last that it said: {last}"
            self._give_up(run.run_id, without_secrets(why))

    def expect_end(self, run_id: str) -> None:
        """Count the next end of a driver as no death: it is asked for."""
        if job := self.jobs.get(run_id):
            job.is_open = False

    def _end_idle(self, queue: Sequence[QueuedRun]) -> None:
        """End drivers that wait without slots, those that have waited for longest."""
        idle = [run.run_id for run in queue if not self.turns.held(run.run_id)]
        idle = sorted(filter(self.pid, idle), key=self.turns.since.__getitem__)
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
        self.jobs.pop(run_id, None)
        self.turns.forget(run_id)
        for suffix in (SLOTS, slot_sharing.DEMAND, slot_sharing.SURPLUS, LOCK):
            with contextlib.suppress(OSError):
                self._file(run_id, suffix).unlink()

    def _drop_old_logs(self) -> None:
        """Delete the logs of sweeps whose drivers have written longest ago, if there are many."""
        with contextlib.suppress(OSError):
            logs = self._settings.state.glob(f"*{LOG}*")
            for old in sorted(logs, key=lambda one: -one.stat().st_mtime)[MOST_LOGS:]:
                old.unlink()

    def _file(self, run_id: str, suffix: str) -> Path:
        return self._settings.state / f"{run_id}{suffix}"


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def write_note(descriptor: int, progress: tuple[int, int] = (0, 0)) -> None:
    """Write to the file that a process locks which one it is, and how far its sweep is.

    That is how many trials have ended, and how many rounds the others have trained.
    """
    text = f"{os.getpid()} {progress[0]} {progress[1]}"
    os.pwrite(descriptor, f"{text:<{LONGEST_NOTE}}".encode(), 0)


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
