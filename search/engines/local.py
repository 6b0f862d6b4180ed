"""Runs trials on this machine, each in a fresh worker process.

Sweeps on one machine share its slots: a driver locks a file for each of its trials, for as long as
it runs; the system drops the locks of a process that ends, however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import signal
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from typing_extensions import override

from lstm_sweep.models.errors import InputError, check_kind, shown
from lstm_sweep.search.engines import hardware, worker
from lstm_sweep.search.engines.base import Engine, Event, Quota
from lstm_sweep.search.process import forkserver
from lstm_sweep.search.process.signals import signal_name
from lstm_sweep.search.values.trial import Device, Ended, Job, Message, Outcome, Paused, Slot

#: variable that names the folder of the locks, or is `off`
VARIABLE = "LSTM_SWEEP_SLOTS"
#: name of the folder within that for temporary files, which all users share; suffix of its files
FOLDER, SLOT = "lstm-sweep-slots", ".slot"


def shared_folder(environment: Mapping[str, str] = os.environ) -> Path | None:
    given = environment.get(VARIABLE, "")
    if given == "off":
        return None
    folder = Path(given) if given else Path(tempfile.gettempdir()) / FOLDER
    with contextlib.suppress(OSError):  # such as one that another driver creates at this moment
        folder.mkdir(parents=True)
        folder.chmod(0o1777)  # other users have sweeps too
    with contextlib.suppress(OSError):
        if stat.S_ISDIR(folder.lstat().st_mode):
            return folder
    return None


class SlotSharing:
    """The slots that one driver uses of those of its machine; `every` are all of these."""

    def __init__(self, every: Iterable[Slot], folder: Path) -> None:
        self._folder = folder
        #: slots by the names of their files; several are on one GPU or core
        self._slots: dict[str, Slot] = {}
        for slot in every:
            own = f"core-{slot.core}" if slot.gpu is None else f"gpu-{slot.gpu}"
            share = sum(name.rpartition("-")[0] == own for name in self._slots)
            self._slots[f"{own}-{share}"] = slot
        #: descriptors of the slots in use, by name
        self._held: dict[str, int] = {}

    def take(self, preferred: Slot | None = None) -> tuple[str, str]:
        """Lock a slot: its name, and why there is none; one of the two is empty."""
        place = preferred and (preferred.core, preferred.gpu)
        here = [name for name, one in self._slots.items() if (one.core, one.gpu) == place]
        for name in (*here, *self._slots):
            if name not in self._held and (lock := self._lock(name)) is not None:
                self._held[name] = lock
                return name, ""
        count = len(self._slots)
        every = "the only slot" if count == 1 else f"all {count} slots"
        return "", f"other sweeps use {every} of this machine"

    def at(self, name: str, slot: Slot) -> Slot:
        """A slot on the GPU or core of one that was taken."""
        taken = self._slots[name]
        return replace(slot, core=taken.core, gpu=taken.gpu)

    def give_back(self, name: str) -> None:
        os.close(self._held.pop(name))

    def close(self) -> None:
        for name in list(self._held):
            self.give_back(name)

    def _lock(self, name: str) -> int | None:
        """None if another process has locked it; one whose file cannot be opened is not shared."""
        with contextlib.suppress(OSError):
            return _locked(self._folder / f"{name.replace('/', '_')}{SLOT}")
        return os.open(os.devnull, os.O_RDONLY)


def _locked(path: Path) -> int | None:
    """A descriptor that locks a file, which all users may read; None if another has locked it."""
    with contextlib.suppress(FileExistsError):
        created = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        with contextlib.suppress(OSError):  # a file system without modes
            os.fchmod(created, 0o644)
        os.close(created)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:  # a file system without locks: nothing is shared
        pass
    return descriptor


def memory_kills() -> int:
    """The kernel's counter of processes killed for lack of memory; 0 if there is none."""
    for file in (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat")):
        with contextlib.suppress(OSError):
            for line in file.read_text(encoding="ascii").splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return 0


#: seconds within which a worker must exit after its last message
EXIT_WITHIN_S = 10.0
#: exit code of a process whose forkserver has died, so that its own is not known
ORPHANED = 255


@dataclass
class _Running:
    slot: Slot
    process: BaseProcess
    pipe: Connection
    #: name of the slot of this machine that is locked for it; empty if slots are not shared
    place: str
    #: number of processes that the kernel had killed for lack of memory when the worker started
    memory_kills: int
    #: `ended` of the first call of `stop`; None if it was not called
    stopped: Ended | Paused | None = None

    def kill(self) -> None:
        """Kill by PID, which works also if the forkserver, its parent, has died."""
        assert self.process.pid
        with contextlib.suppress(OSError):
            os.kill(self.process.pid, signal.SIGKILL)


class LocalEngine(Engine):
    """Runs one worker process on each slot."""

    def __init__(
        self,
        slots: tuple[Slot, ...],
        sharing: SlotSharing | None = None,
        quota: Quota | None = None,
    ) -> None:
        """With `sharing`, slots are taken as they are needed, and as other sweeps leave some."""
        self.slots, self._sharing, self.quota = slots, sharing, quota
        #: where the trial of a reserved slot will run: the name of a slot of this machine
        self._reserved: dict[Slot, str] = {}
        self._running: dict[Slot, _Running] = {}
        #: folder of the trial that was started last on each slot
        self._folders: dict[Slot, Path] = {}
        self._closed = False
        #: why the last slot that was to be reserved could not be had
        self._refused = ""

    @override
    def describe(self, slot: Slot) -> Device:
        return hardware.describe(slot.gpu)

    @override
    def warm_up(self, *, user_code: bool = False) -> None:
        forkserver.warm_up(user_code=user_code)

    @override
    def reserve(self, slot: Slot) -> str:
        if slot in self._reserved:
            return ""
        name, self._refused = "", ""
        if self.quota and len(self._running) + len(self._reserved) >= self.quota.most():
            self._refused = self.quota.why()
        elif self._sharing:
            name, self._refused = self._sharing.take(slot)
        if not self._refused:
            self._reserved[slot] = name
        return self._refused

    @override
    def release(self) -> None:
        while self._reserved:
            self._give_back(self._reserved.popitem()[1])

    @override
    def staying(self) -> int:
        return sum(running.stopped is None for running in self._running.values())

    @override
    def start(self, job: Job) -> None:
        if self._closed:
            raise RuntimeError("the engine is closed")
        if job.slot in self._running:
            raise RuntimeError(f"{job.slot} is taken")
        job.folder.mkdir(parents=True, exist_ok=True)
        place = self._reserved.pop(job.slot, "")
        taken = self._sharing.at(place, job.slot) if self._sharing and place else job.slot
        own = replace(job, slot=taken)
        try:
            process, pipe = forkserver.fork(worker.main, own, user_code=job.training.runs_user_code)
        except BaseException:
            self._give_back(place)
            raise
        self._running[job.slot] = _Running(job.slot, process, pipe, place, memory_kills())
        self._folders[job.slot] = job.folder

    @override
    def wait(self, timeout_s: float) -> Sequence[tuple[Slot, Event]]:
        running = self._running.values()
        signs: dict[Any, _Running] = {one.pipe: one for one in running}
        # a process that the worker has forked may keep its pipe open
        signs |= {one.process.sentinel: one for one in running}
        if not signs and self._refused:
            time.sleep(timeout_s)
        ready = {signs[sign].slot for sign in connection.wait([*signs], timeout_s)} if signs else ()
        return [(slot, message) for slot in ready for message in self._receive(self._running[slot])]

    def _receive(self, running: _Running) -> Iterator[Message]:
        has_sent = running.pipe.poll()
        while True:
            try:
                message: Message = running.pipe.recv() if has_sent else self._died(running)
            except (EOFError, OSError, pickle.UnpicklingError):
                message = self._died(running)
            yield message
            if isinstance(message, Ended | Paused):
                self._free(running)
                return
            if not running.pipe.poll():
                return

    def _died(self, running: _Running) -> Ended | Paused:
        code = forkserver.exit_code(running.process, EXIT_WITHIN_S)
        if running.stopped:
            return running.stopped
        if code is None:
            reason = f"its worker closed its pipe but did not exit within {EXIT_WITHIN_S:g} s"
            return Ended(Outcome.LOST, reason)
        if code == ORPHANED:
            return Ended(Outcome.LOST, "the process that had started its worker has died")
        if code >= 0:
            return Ended(Outcome.LOST, f"its worker exited with code {code}")
        reason = f"its worker was killed by {signal_name(-code)}"
        if code == -signal.SIGKILL and memory_kills() > running.memory_kills:
            reason = f"memory of the host: {reason}, as the kernel does if memory is used up"
            return Ended(Outcome.OUT_OF_MEMORY, reason)
        return Ended(Outcome.LOST, reason)

    def _free(self, running: _Running) -> None:
        del self._running[running.slot]
        if forkserver.exit_code(running.process, EXIT_WITHIN_S) in (None, ORPHANED):
            running.kill()
            forkserver.exit_code(running.process, None)
        running.process.close()
        running.pipe.close()
        self._give_back(running.place)

    def _give_back(self, place: str) -> None:
        if self._sharing and place:
            self._sharing.give_back(place)

    @override
    def stop(self, slot: Slot, ended: Ended | Paused) -> None:
        if running := self._running.get(slot):
            running.stopped = running.stopped or ended
            running.kill()

    @override
    def collect(self, slot: Slot) -> Path:
        if slot not in self._folders:
            raise LookupError(f"no trial was started on {slot}")
        return self._folders[slot]

    @override
    def close(self) -> None:
        self._closed = True
        for running in list(self._running.values()):
            running.kill()
            self._free(running)
        if self._sharing:
            self._sharing.close()


def find_slots(workers: int | None = None, per_gpu: int = 1) -> tuple[Slot, ...]:
    """`per_gpu` slots for each GPU, or one for each CPU core if there is no GPU.

    `workers` sets another number of slots, spread evenly over the GPUs or cores.
    """
    for option, number in (("--workers", workers), ("--per-gpu", per_gpu)):
        if number is None:
            continue
        check_kind(option, number, whole=True)
        if number < 1:
            raise InputError(f"{option} is {shown(number)}: expected at least 1")
    cards = hardware.find_gpus() * per_gpu  # each GPU once, then each a second time
    cores = hardware.cores()
    count = workers or len(cards or cores)
    if cards:
        return tuple(Slot(index, gpu=cards[index % len(cards)]) for index in range(count))
    return tuple(Slot(index, core=cores[index % len(cores)]) for index in range(count))


def open_local(workers: int | None, per_gpu: int) -> LocalEngine:
    """The engine with slots as `find_slots` says, shared with other sweeps of this machine.

    A sweep with fewer workers than there are GPUs or cores takes those that are free.
    """
    slots, every = find_slots(workers, per_gpu), find_slots(None, per_gpu)
    if every[0].gpu is None and not hardware.pins():  # others with as little time count as we do
        every = tuple(Slot(index, core=core) for index, core in enumerate(hardware.all_cores()))
    folder = shared_folder()
    some = every if len(slots) <= len(every) else slots
    return LocalEngine(slots, SlotSharing(some, folder) if folder else None, Quota.given())
