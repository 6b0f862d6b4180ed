"""The supervisor of a service: the processes of its queue.

The process of a sweep is its driver, which is started again if it dies; that of a rerun is the
command `rerun` (`jobs`). Each has a file locked as long as it lives, beside its quota of slots and
its log, in a folder of the service: the service locks it, and the process inherits that. So a
service that was killed finds them, and none is started twice. Whether a driver gets on is seen by
the lease of its sweep in the store, which it renews: its sign of life, on this machine and on
others.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.driver import lease
from lstm_sweep.search.driver.lease import BROKEN_OFF, STALE_S, Holder
from lstm_sweep.search.engines import base
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.process.signals import STOP_WITHIN
from lstm_sweep.search.service import queue
from lstm_sweep.search.service.jobs import LONGEST_NOTE, Reruns, write_note
from lstm_sweep.search.service.logs import cut_open_log, last_line
from lstm_sweep.search.service.queue import QueuedSweep
from lstm_sweep.search.service.scheduler import Claim, QueuedJob, Turns, raised
from lstm_sweep.search.service.settings import ServiceSettings
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.values.documents import duration
from lstm_sweep.search.values.spec import SERVER, TOKEN

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
#: suffixes of files: the one that is locked, which says what its process is and how far its sweep
#: is, its quota, and its log
LOCK, SLOTS, LOG = ".lock", ".slots", ".log"
#: seconds without a renewal of its lease after which a driver hangs, and after which one that has
#: no lease does: it reads its data before it has one, and draws pictures after it
HANGS_S, WITHOUT_LEASE_S = 90.0, 1800.0
#: seconds between two looks at a lease that count at most: in longer ones nobody has looked
UNSEEN_S = 10.0
NO_CODE = (
    "waits: it runs a template, which is code: expected a service that was started with "
    "--allow-code"
)
#: states of sweeps that have a driver, or are to get one
UNDER_WAY = ("queued", "running", "interrupted")
#: modules: the driver of a sweep, the program with its commands, and what counts a cluster's slots
DRIVER, PROGRAM = "lstm_sweep.search.service.jobs", "lstm_sweep"
COUNT = "lstm_sweep.search.engines.ray_cluster"
#: seconds until the process that counts slots is started again, and that it has to say a number
COUNT_AGAIN_S, COUNTED_WITHIN_S = 5.0, 180.0


@dataclass
class Process:
    """What is known of the process of a job."""

    #: what was read of the job last, while it is in the queue
    job: QueuedJob | None = None
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
    """Gives the slots of a service to what is queued, and keeps the processes of that."""

    def __init__(
        self, settings: ServiceSettings, store: Store, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """The store has leases of sweeps that are not queued, and closes what is given up."""
        self._settings, self._store, self._clock = settings, store, clock
        self.reruns = Reruns(settings.state / "reruns", self.runs)
        self.slots = settings.count_slots()
        self.driver_deaths = 0
        self.turns = Turns()
        self.processes: dict[str, Process] = {}
        #: held while a process is started, and whether none is to be started any more
        self._starting, self._closed = threading.Lock(), False
        with contextlib.suppress(OSError):
            logs = sorted(settings.state.glob(f"*{LOG}*"), key=lambda one: -one.stat().st_mtime)
            for old in logs[MOST_LOGS:]:
                old.unlink()

    # the queue, as it is shown

    def queued(self, run_id: str) -> QueuedJob | None:
        return self.processes[run_id].job if run_id in self.processes else None

    def queue(self) -> list[QueuedJob]:
        order = dict.fromkeys([*self.turns.quotas, *self.processes])
        return [job for run_id in order if (job := self.queued(run_id))]

    def told(self, run_id: str, stored: str) -> tuple[str, str | None]:
        """The state of a sweep that the store calls `stored`, and why, if it is in the queue."""
        if not self.queued(run_id) or stored not in (*UNDER_WAY, BROKEN_OFF):
            return stored, None
        waits = stored != "running" or not self.turns.held(run_id)
        state = "queued" if waits or self._process(run_id).pid is None else "running"
        return state, self.why(run_id, state)

    def why(self, run_id: str, state: str) -> str | None:
        job = self.queued(run_id)
        if job and not self._may_run_code(job):
            return NO_CODE
        if job and self._waits_for_network(job):
            return f"waits: its trials begin with what {job.begins_with} learns"
        if wait := self.may_start_in(run_id):
            last = last_line(self._file(run_id, LOG))
            more = f"; the last that it said: {last}" if last else ""
            text = f"its driver has died, and is started again in {duration(wait)}{more}"
            return without_secrets(text)
        quota = self.turns.quotas.get(run_id)
        if quota and quota.slots and state == "queued":
            return "its driver is being started"
        return (quota and quota.why) or None

    def _may_run_code(self, job: QueuedJob) -> bool:
        """Whether code is allowed, or the job runs none; what runs already goes on."""
        runs = self._process(job.run_id).pid is not None
        return self._settings.allow_code or runs or not job.runs_code

    def _waits_for_network(self, job: QueuedJob) -> bool:
        """Whether the sweep is under way with whose network a job begins, and waits for none."""
        return job.begins_with is not None and any(
            other.name == job.begins_with and other.begins_with is None and not other.is_rerun
            for other in self.queue()
        )

    def shown(self, job: QueuedJob) -> QueuedSweep:
        slots = self.turns.held(job.run_id)
        demand = self._said(job.run_id, base.DEMAND)
        return QueuedSweep(
            sweep=job.name,
            run_id=job.run_id,
            owner=job.owner,
            priority=job.priority,
            submitted=datetime.fromtimestamp(job.submitted, UTC),
            slots=slots,
            wanted=max(slots, demand or self._most(job)),
            driver=self._process(job.run_id).pid or None,
            why=self.why(job.run_id, self.told(job.run_id, job.state)[0]) or "",
        )

    # what the service asks at each look

    def look(self, sweeps: Sequence[QueuedJob]) -> None:
        now, jobs = self._clock(), [*raised(sweeps), *self.reruns.queue()]
        for job in jobs:
            self._process(job.run_id).job = job
        for run_id in self.processes.keys() - {job.run_id for job in jobs}:
            self.processes[run_id].job = None
            if self.pid(run_id) is None:
                self.forget(run_id)
        self._end_hanging(now)
        for job in jobs:
            process = self.processes[job.run_id]
            cut_open_log(self._file(job.run_id, LOG), MOST_LOG_BYTES)
            process.pid = self._pid_of(job, now)
            if process.pid is None and process.is_open:
                self._note_end(job)
        self._share_out(jobs, now)
        idle = [job.run_id for job in jobs if not self.turns.held(job.run_id)]
        idle = sorted(filter(self.pid, idle), key=lambda run_id: self.turns.jobs[run_id].since)
        for run_id in idle[: max(0, len(idle) - MOST_IDLE)]:
            self._terminate(run_id)

    def _process(self, run_id: str) -> Process:
        return self.processes.setdefault(run_id, Process())

    # which processes live

    def pid(self, run_id: str) -> int | None:
        """The process of a job here, whichever service started it; 0: it was not noted yet."""
        process = self.processes.get(run_id)
        if process and process.child and process.child.poll() is None:
            return process.child.pid
        return self._noted(run_id)[0]

    def _noted(self, run_id: str) -> tuple[int | None, tuple[int, int]]:
        """The process that has locked its file, if any, and how far the sweep is."""
        try:
            with self._file(run_id, LOCK).open("rb") as file:
                pid, trials, rounds = map(int, file.read(LONGEST_NOTE).split())
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return pid, (trials, rounds)
        except (OSError, ValueError):
            return None, (0, 0)
        return None, (trials, rounds)

    def runs(self, run_id: str) -> bool:
        """Whether a job has a process, or had one whose end nobody has noted."""
        process = self.processes.get(run_id)
        return (process is not None and process.is_open) or self.pid(run_id) is not None

    def alive(self) -> list[str]:
        """What has a process on this machine, be it in the queue or not."""
        files = self._settings.state.glob(f"*{LOCK}")
        named = {*(file.name.removesuffix(LOCK) for file in files), *list(self.processes)}
        return sorted(run_id for run_id in named if self.pid(run_id))

    def _pid_of(self, job: QueuedJob, now: float) -> int | None:
        """The process of a job; 0 if that is on another machine."""
        if pid := self.pid(job.run_id):
            return pid
        if job.driver is None or job.driver.is_here:
            return job.driver.pid if job.driver else None
        return 0 if self._process(job.run_id).silent_s(job.driver, now) < STALE_S else None

    def _end_hanging(self, now: float) -> None:
        """End drivers that renew no lease, queued or not; kill them at a later look."""
        for run_id in self.alive():
            if self.reruns.has(run_id):
                continue
            process = self._process(run_id)
            job = process.job
            driver = job.driver if job else lease.holder(self._store.tags(run_id))
            hangs = process.silent_s(driver, now) >= (HANGS_S if driver else WITHOUT_LEASE_S)
            if not hangs or not (pid := self.pid(run_id)):
                continue
            if process.killed_at is None:
                process.killed_at = now + self._end_within_s
                with contextlib.suppress(OSError), self._file(run_id, LOG).open("ab") as log:
                    log.write(b"it hung, and was ended by the service\n")
            _send(pid, signal.SIGKILL if now >= process.killed_at else signal.SIGTERM)

    # who has slots

    def _share_out(self, jobs: Sequence[QueuedJob], now: float) -> None:
        """Give slots to what has a process, or may soon; start those that lack one.

        A sweep keeps its slots from one driver to the next, and from one service to the next.
        """
        if self._settings.cluster:
            self.slots = self._settings.count_slots()
        may, barred, is_late = dict[str, QueuedJob](), list[QueuedJob](), False
        for job in jobs:
            run_id = job.run_id
            if run_id not in self.turns.jobs:
                last = base.read_quota(self._file(run_id, SLOTS))
                held, at = (last[0], last[2]) if last else (0, math.inf)
                self.turns.jobs[run_id] = Claim(now - max(0.0, time.time() - at), held)
            demand, most = None, self._most(job)
            if self.processes[run_id].pid:
                demand = self._said(run_id, base.DEMAND)
                is_late = is_late or bool(self._said(run_id, base.SURPLUS))
            asks = replace(job, wanted=max(1, most if demand is None else demand))
            if (
                self._may_run_code(job)
                and not self._waits_for_network(job)
                and job.state in UNDER_WAY
                and self.may_start_in(run_id) <= KEPT_S
            ):
                may[run_id] = asks
            else:
                barred.append(asks)
        for quota in self.turns.share_out(
            list(may.values()),
            barred,
            self.slots,
            now,
            is_late=is_late,
            most_per_user=self._settings.most_per_user,
        ):
            job, process = may[quota.run_id], self.processes[quota.run_id]
            if process.quota != (quota.slots, quota.why):
                at = time.time() - (now - self.turns.jobs[quota.run_id].since)
                file = self._file(quota.run_id, SLOTS)
                base.write_quota(file, quota.slots, quota.why, at)
                process.quota = (quota.slots, quota.why)
            is_due = process.pid is None and not self.may_start_in(quota.run_id)
            if quota.slots and is_due and not job.stays:
                self.start(quota.run_id)

    def _most(self, job: QueuedJob) -> int:
        return min(job.workers or self.slots, job.trials_left)

    def _said(self, run_id: str, suffix: str) -> int | None:
        """How many slots a driver says it could use, or has that it is to give back."""
        try:
            return int(self._file(run_id, suffix).read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None

    # how processes begin

    def start(self, run_id: str) -> None:
        """Start the process of a job, none beside another; it keeps the lock until it ends."""
        file, is_rerun = self._file(run_id, LOCK), self.reruns.has(run_id)
        # a command asks no service in the place of this one
        own = {name: text for name, text in os.environ.items() if name not in (SERVER, TOKEN)}
        own[base.QUOTA] = str(self._file(run_id, SLOTS))
        own[STOP_WITHIN] = f"{self._settings.stop_within_s - TOLD_AHEAD_S:g}"
        with contextlib.ExitStack() as files, self._starting:
            lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            files.callback(os.close, lock)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            if self._closed:
                return
            if is_rerun:
                command = [PROGRAM, *self.reruns.command(run_id)]
                out, errors = map(files.enter_context, self.reruns.open(run_id))
            else:
                command = [DRIVER, run_id, str(file), *(["ray"] if self._settings.cluster else [])]
                out = errors = files.enter_context(self._file(run_id, LOG).open("ab"))
            write_note(lock, 0)  # no longer that of the process before
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", *command],
                cwd=self._settings.folder,
                env=own,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                start_new_session=True,
                pass_fds=[lock],
            )
            write_note(lock, child.pid)
            process = self._process(run_id)
            process.child, process.pid, process.is_open = child, child.pid, True
            process.killed_at, process.started = None, self._clock()

    def may_start_in(self, run_id: str) -> float:
        process = self.processes.get(run_id)
        return max(0.0, process.again - self._clock()) if process else 0.0

    # how they end

    def _note_end(self, job: QueuedJob) -> None:
        """Note the end of a rerun, or start a driver that has died again later, or give up.

        Earlier deaths do not count if the sweep is further than it was at the last one.
        """
        process = self._process(job.run_id)
        process.is_open = False
        if job.is_rerun:
            self.reruns.note_end(job.run_id, process.child.poll() if process.child else None)
            return
        now, (_, progress) = self._clock(), self._noted(job.run_id)
        forgiven = now - process.started > FORGIVEN_S or progress > process.progress
        process.deaths = 1 if forgiven else process.deaths + 1
        process.progress = max(progress, process.progress)
        process.again = now + min(LONGEST_AGAIN_S, AGAIN_S * 2 ** (process.deaths - 1))
        self.driver_deaths += 1
        if process.deaths >= MOST_DEATHS:
            last = last_line(self._file(job.run_id, LOG))
            why = f"its driver has died {MOST_DEATHS} times in a row; the last that it said: {last}"
            queue.give_up(self._store, job.run_id, without_secrets(why))

    def expect_end(self, run_id: str) -> None:
        """Count the next end of a driver as no death: it is asked for."""
        if process := self.processes.get(run_id):
            process.is_open = False

    def close(self) -> None:
        """Start no more processes, and end all, also those that an earlier service has started."""
        with self._starting:
            self._closed = True
        self.end(self.alive())

    @property
    def _end_within_s(self) -> float:
        return self._settings.stop_within_s - KILLED_AHEAD_S

    def end(self, run_ids: Iterable[str], within_s: float | None = None) -> None:
        """End processes: SIGTERM, and SIGKILL for those that do not end in time."""
        left = {run_id: pid for run_id in run_ids if (pid := self._terminate(run_id))}
        until = time.monotonic() + (self._end_within_s if within_s is None else within_s)
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
        self.processes.pop(run_id, None)
        self.turns.forget(run_id)
        for suffix in (SLOTS, base.DEMAND, base.SURPLUS, LOCK):
            with contextlib.suppress(OSError):
                self._file(run_id, suffix).unlink()

    def _file(self, run_id: str, suffix: str) -> Path:
        return self._settings.state / f"{run_id}{suffix}"


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


class ClusterSlots:
    """The number of slots of the cluster that `RAY_ADDRESS` names, or of this machine's."""

    def __init__(self) -> None:
        self._count, self._said, self._closed = 0, "", False
        self._child: subprocess.Popen[str] | None = None
        self._known = threading.Event()

    def __call__(self) -> int:
        """How many there are; while the cluster does not answer, how many there were."""
        return self._count

    def start(self) -> None:
        """Begin to count; `InputError` if there is no cluster that this machine can join."""
        threading.Thread(target=self._watch, name="cluster", daemon=True).start()
        if not self._known.wait(COUNTED_WITHIN_S) or not self._said.isdecimal():
            self.close()
            raise InputError(self._said or "--on ray: the cluster does not answer")

    def close(self) -> None:
        """Count no more; a child that begins just now ends as soon as this process has."""
        self._closed = True
        if self._child:
            self._child.terminate()

    def _watch(self) -> None:
        command = [sys.executable, "-P", "-m", COUNT]
        while not self._closed:
            with contextlib.suppress(OSError):  # no process can be started: it is tried again
                self._child = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL, text=True, start_new_session=True,
                )  # fmt: skip
                with self._child as child:
                    for line in child.stdout or ():
                        self._said = line.strip()
                        self._count = int(self._said) if self._said.isdecimal() else self._count
                        self._known.set()
            self._known.set()
            time.sleep(COUNT_AGAIN_S)
