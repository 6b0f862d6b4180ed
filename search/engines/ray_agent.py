"""For `ray`: the agent, an actor that holds slots on a node and runs trials on them."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import itertools
import os
import platform
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.search.engines import hardware
from lstm_sweep.search.engines.base import Event
from lstm_sweep.search.engines.local import LocalEngine, find_gpus
from lstm_sweep.search.engines.ray_cluster import ALL, Faults, Offer, delay_s, left_out
from lstm_sweep.search.process import forkserver, workdir
from lstm_sweep.search.process.files import locked
from lstm_sweep.search.values.device import Device
from lstm_sweep.search.values.trial import Computing, Ended, Job, Outcome, Paused, Slot, Trial

Bytes = NDArray[np.uint8]

#: bytes of a large file that travel at once
CHUNK = 1 << 25
#: end of the name of a file that is not complete
PARTIAL = ".partial"


def digest(folder: Path) -> str:
    """Hash of the names and contents of all files of a folder, 32 hexadecimal digits."""
    whole = hashlib.blake2b(digest_size=16)
    for file in _files(folder):
        whole.update(f"{file.name}\0{file.stat().st_size}\0".encode("utf-8", "surrogateescape"))
        for chunk in chunks(file):
            whole.update(chunk.data)
    return whole.hexdigest()


def chunks(file: Path) -> Iterator[Bytes]:
    """The bytes of a file, at most `CHUNK` at once."""
    for offset in range(0, file.stat().st_size, CHUNK):
        yield np.fromfile(file, np.uint8, CHUNK, offset=offset)


def read(folder: Path) -> dict[str, Bytes]:
    """The files of a folder by name, each as `<uint8>[bytes]`; none if there is no such folder."""
    found = {}
    for file in _files(folder):
        if not file.name.endswith(PARTIAL):
            found[file.name] = np.fromfile(file, np.uint8)
    return found


def put(folder: Path, store: Callable[[Bytes], Any]) -> dict[str, list[Any]]:
    """Put the files of a folder into an object store, in chunks; their references by name."""
    return {file.name: [store(chunk) for chunk in chunks(file)] for file in _files(folder)}


def write(folder: Path, files: Mapping[str, Iterable[Bytes]]) -> None:
    """Write files, each from its chunks; a file appears when it is complete.

    Raises:
        OSError: there is no room for them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, parts in files.items():
        partial = folder / f"{Path(name).name}{PARTIAL}"  # a name is no path out of the folder
        try:
            with partial.open("wb") as file:
                for part in parts:
                    file.write(part.data)
            partial.replace(folder / Path(name).name)
        finally:
            partial.unlink(missing_ok=True)


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_file())


AGENTS, CORPORA, CORES = "agents", "corpora", "cores"
#: the part of a corpus's folder that appears when it is complete
COMPLETE = "complete"


class Scratch:
    """The folder of one agent, the corpora that it uses, and the CPU cores that it has taken."""

    def __init__(self, root: Path | None = None) -> None:
        """Delete what agents that have ended have left; `root` is the folder that agents share."""
        self._root = root or _root()
        self._held: list[int] = []
        self._corpora: dict[str, int] = {}
        with locked(self._root):
            for kind in (AGENTS, CORPORA):
                (self._root / kind).mkdir(exist_ok=True)
                for folder in (self._root / kind).iterdir():
                    _delete_if_unused(folder)
            self.folder = Path(tempfile.mkdtemp(dir=self._root / AGENTS))
            self._own = os.open(self.folder, os.O_RDONLY)
            fcntl.flock(self._own, fcntl.LOCK_SH)

    def corpus(self, digest: str, write: Callable[[Path], None]) -> Path:
        """The folder of a corpus; `write` writes it, once on a node however many agents use it.

        Raises:
            OSError: there is no room for it.
        """
        folder = self._root / CORPORA / digest
        while digest not in self._corpora:
            with locked(self._root):
                folder.mkdir(exist_ok=True)
                number = os.open(folder, os.O_RDONLY)
            try:
                if _written(folder, number, write):
                    self._corpora[digest], number = number, -1
            finally:
                if number >= 0:
                    os.close(number)
        return folder / COMPLETE

    def take_cores(self, count: int, cores: Sequence[int]) -> list[int]:
        """`count` of the cores; those first that no other agent of this user has on this machine.

        If there are not enough, some are taken more than once.
        """
        folder = self._root / CORES
        folder.mkdir(exist_ok=True)
        taken: list[int] = []
        with locked(self._root):
            for core in cores:
                if len(taken) < count and self._take(folder / str(core)):
                    taken.append(core)
        rest = [core for core in cores if core not in taken] or list(cores)
        return taken + [rest[index % len(rest)] for index in range(count - len(taken))]

    def _take(self, file: Path) -> bool:
        number = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(number)
            return False
        self._held.append(number)
        return True

    def close(self) -> None:
        """Delete the agent's folder, and the corpora that no other agent uses."""
        with locked(self._root):
            for number in (self._own, *self._corpora.values(), *self._held):
                os.close(number)
            _delete_if_unused(self.folder)
            for digest in self._corpora:
                _delete_if_unused(self._root / CORPORA / digest)


def _root() -> Path:
    own = workdir.private(Path(tempfile.gettempdir()) / f"lstm-sweep-{os.getuid()}")
    return own or Path(tempfile.mkdtemp(prefix=workdir.TEMPORARY))


def _written(folder: Path, number: int, write: Callable[[Path], None]) -> bool:
    """Write the corpus in `folder` if it is missing; whether it is complete, and locked.

    `number` is open on the folder. Another agent might have deleted it before it was locked.
    """
    fcntl.flock(number, fcntl.LOCK_SH)
    if not (folder / COMPLETE).exists():
        fcntl.flock(number, fcntl.LOCK_EX)  # one agent writes, and others wait for it
        if _is_open(folder, number) and not (folder / COMPLETE).exists():
            with tempfile.TemporaryDirectory(dir=folder) as made:
                write(Path(made) / COMPLETE)
                (Path(made) / COMPLETE).replace(folder / COMPLETE)
        fcntl.flock(number, fcntl.LOCK_SH)
    return _is_open(folder, number) and (folder / COMPLETE).exists()


def _is_open(folder: Path, number: int) -> bool:
    """Whether `number` is open on the folder that has this path now."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(number), folder.stat())
    return False


def _delete_if_unused(folder: Path) -> None:
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(number)


#: packages whose versions on all nodes must be the driver's
PACKAGES = ("keras", "tensorflow", "numpy", "ray")
#: folders of this program, whose code must be the driver's too
CODE = tuple(Path(__file__).parents[2] / name for name in ("models", "search", "spaces"))
#: seconds between two looks for calls of the driver while trials run, and while none does
BUSY_S, IDLE_S = 0.02, 0.5
#: seconds between two looks at whether Ray's own process on the node lives
PARENT_EVERY_S = 0.5
#: seconds between two messages of a trial that waits for its corpus
COMPUTING_EVERY_S = 5.0


@dataclass(frozen=True)
class Hello:
    """The first that an agent says: what it has."""

    #: each `core` or `gpu` is that of a slot
    slots: tuple[Slot, ...]
    device: Device
    versions: dict[str, str]
    pid: int


@dataclass(frozen=True)
class Report:
    """What has happened on a slot; agents number their reports from 1."""

    number: int
    slot: Slot
    event: Event


@dataclass(frozen=True)
class Offering:
    """On how many slots trials may begin from now on; numbered with the reports."""

    number: int
    offer: Offer


@dataclass(frozen=True)
class KeptCheckpoint:
    """The checkpoint of a trial that runs."""

    #: another one for each checkpoint of the trial
    version: int
    #: the file, `<uint8>[bytes]`
    data: Bytes


@dataclass
class _Waiting:
    """A trial whose corpus is not there yet."""

    job: Job
    corpus: str
    reported: float


def versions() -> dict[str, str]:
    """Versions of Python, of this program and of the packages that compute a trial.

    That of this program is a hash of its code, which it has also where it was sent as `py_modules`.
    """
    code = hashlib.blake2b(digest_size=4)
    for file in sorted(file for folder in CODE for file in folder.rglob("*.py")):
        code.update(file.read_bytes())
    found = {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "lstm-sweep": f"with code {code.hexdigest()}",
    }
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "none"
    return found


def different(theirs: dict[str, str], ours: dict[str, str]) -> str:
    """What differs between a node's versions and the driver's, in a line; empty if nothing does."""
    names = [name for name in ours if theirs.get(name) != ours[name]]
    if not names:
        return ""
    there = ", ".join(f"{name} {theirs.get(name)}" for name in names)
    here = ", ".join(f"{name} {ours[name]}" for name in names)
    return f"it has {there} and the driver {here}: expected the same on all nodes"


class Agent:
    """Runs trials on the slots of a node, as `local` does on those of its machine.

    `run` does so, in one thread of the actor; calls of the driver come in others. Calls that change
    what runs are numbered by the driver, and are carried out in this order.
    """

    def __init__(self, node: str, slots: int, *, on_gpus: bool, root: Path | None = None) -> None:
        """Take `slots` slots: on the GPUs that Ray gives, or on CPU cores."""
        threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
        # Ray sets it to the number of CPUs; workers of `local` do not have it
        os.environ.pop("OMP_NUM_THREADS", None)
        if not on_gpus:  # Ray leaves the GPUs of the node visible
            os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        self._scratch = Scratch(root)
        if on_gpus:
            cards = find_gpus()
            own = [Slot(i, gpu=cards[i % len(cards)], node=node) for i in range(slots)]
        else:
            cores = self._scratch.take_cores(slots, hardware.cores())
            own = [Slot(i, core=core, node=node) for i, core in enumerate(cores)]
        device = replace(hardware.describe(own[0].gpu if own else None), node=node)
        self._hello = Hello(tuple(own), device, versions(), os.getpid())
        self._engine = LocalEngine(self._hello.slots)
        self._calls: queue.Queue[tuple[int, Callable[..., None], tuple[Any, ...]]] = queue.Queue()
        #: calls that came before earlier ones, by their number
        self._early: dict[int, tuple[Callable[..., None], tuple[Any, ...]]] = {}
        self._next_call = 1
        self._trials = 0
        #: slots with a worker, and the trial that was started last on each slot
        self._running: set[Slot] = set()
        self._jobs: dict[Slot, Job] = {}
        self._waiting: dict[Slot, _Waiting] = {}
        #: folder of each corpus that is there, or why it could not be had, by its digest
        self._corpora: dict[str, Path | str] = {}
        self._events: list[tuple[Slot, Event]] = []
        self._faults = Faults()
        #: what the driver knows
        self._offered = ALL
        self._closing = False
        self._ended = threading.Event()

    # the stream

    def run(self) -> Iterator[Hello | Report | Offering]:
        """Run trials until `end` is called; yield what happens."""
        yield self._hello
        number = 0
        try:
            while not self._closing:
                self._take_calls()
                self._begin_waiting()
                events = self._heard()
                # before the end of a trial that could not begin: the next one would not, either
                if (offer := self._offer()).slots != self._offered.slots:
                    self._offered = offer
                    number += 1
                    yield Offering(number, offer)
                for slot, event in events:
                    if isinstance(event, Ended | Paused):
                        self._running.discard(slot)
                    number += 1
                    yield Report(number, slot, event)
        finally:
            self._engine.close()
            self._ended.set()

    def _heard(self) -> list[tuple[Slot, Event]]:
        events, self._events = self._events, []
        heard = self._engine.wait(0 if events else BUSY_S) if self._running else ()
        return [*events, *((slot, self._without_room(event)) for slot, event in heard)]

    def _without_room(self, event: Event) -> Event:
        """Note that a trial has found no room; its attempt counts, since it may have used that."""
        if not (isinstance(event, Ended) and event.outcome is Outcome.LOST and event.unfinished):
            return event
        self._faults.note(event.reason)
        return replace(event, unfinished=False)

    def _offer(self) -> Offer:
        missing = [why for why in list(self._corpora.values()) if isinstance(why, str)]
        return left_out(missing[0]) if missing else self._faults.offer

    def _take_calls(self) -> None:
        """Carry out the calls of the driver; wait for one while no trial runs."""
        wait_s = 0.0 if self._running or self._events else BUSY_S if self._waiting else IDLE_S
        try:
            while True:
                number, call, arguments = self._calls.get(timeout=wait_s)
                wait_s = 0.0
                self._early[number] = call, arguments
                while self._next_call in self._early:
                    call, arguments = self._early.pop(self._next_call)
                    self._next_call += 1
                    call(*arguments)
        except queue.Empty:
            return

    def _begin_waiting(self) -> None:
        """Start trials whose corpus has come."""
        for slot, waiting in list(self._waiting.items()):
            corpus = self._corpora.get(waiting.corpus)
            if isinstance(corpus, Path):
                del self._waiting[slot]
                job = waiting.job
                self._begin(replace(job, training=job.training.reading(corpus)))
            elif corpus is not None:
                del self._waiting[slot]
                self._events.append((slot, Ended(Outcome.LOST, corpus, unfinished=True)))
            elif time.monotonic() - waiting.reported > COMPUTING_EVERY_S:
                waiting.reported = time.monotonic()
                self._events.append((slot, Computing()))

    def _begin(self, job: Job) -> None:
        try:
            self._engine.start(job)
        except (OSError, EOFError) as error:
            self._not_begun(job, f"no worker could be started: {type(error).__name__}: {error}")
        else:
            self._running.add(job.slot)

    def _not_begun(self, job: Job, reason: str) -> None:
        self._faults.note(reason)
        self._events.append((job.slot, Ended(Outcome.LOST, reason, unfinished=True)))

    # calls of the driver, which change what runs

    def start(self, number: int, job: Job, files: Mapping[str, Bytes], corpus: str | None) -> None:
        """Start a trial with the files of its folder, once the corpus of this digest has come."""
        self._calls.put((number, self._start, (job, files, corpus)))

    def _start(self, job: Job, files: Mapping[str, Bytes], corpus: str | None) -> None:
        self._trials += 1
        folder = self._scratch.folder / str(self._trials)
        if before := self._jobs.get(job.slot):
            shutil.rmtree(before.folder, ignore_errors=True)
        job = self._jobs[job.slot] = replace(job, folder=folder)
        try:
            write(folder, {name: [data] for name, data in files.items()})
        except OSError as error:
            self._not_begun(job, f"its files could not be written on {job.slot.node}: {error}")
            return
        if corpus is None:
            self._begin(job)
        else:
            self._waiting[job.slot] = _Waiting(job, corpus, time.monotonic())

    def stop(self, number: int, slot: Slot, ended: Ended | Paused) -> None:
        """Stop the trial on a slot."""
        self._calls.put((number, self._stop, (slot, ended)))

    def _stop(self, slot: Slot, ended: Ended | Paused) -> None:
        if self._waiting.pop(slot, None):
            self._events.append((slot, ended))
        else:
            self._engine.stop(slot, ended)

    # calls of the driver, which change nothing that runs

    def fetch(self, digest: str, chunks: Mapping[str, Sequence[Any]]) -> None:
        """Fetch a corpus from Ray's object store, again and again until it is there.

        `chunks` are references by name of the file. No trial begins until then.
        """
        for times in itertools.count(1):
            try:
                self._corpora[digest] = self._scratch.corpus(digest, partial(_fetch, chunks))
                return
            except Exception as error:  # of the disk, or of Ray
                self._corpora[digest] = f"its corpus did not come: {type(error).__name__}: {error}"
            if self._ended.wait(delay_s(times)):
                return

    def collect(self, slot: Slot) -> dict[str, Bytes]:
        """The files of the trial that was started last on a slot."""
        job = self._jobs.get(slot)
        return read(job.folder) if job else {}

    def checkpoint(self, slot: Slot, trial: Trial, before: int) -> KeptCheckpoint | None:
        """The checkpoint of a trial on a slot.

        None if there is none, or none but that of version `before`, or if the trial has not begun.
        """
        job = self._jobs.get(slot)
        if not job or job.trial != trial:
            return None
        with contextlib.suppress(FileNotFoundError), job.checkpoint.open("rb") as file:
            version = os.fstat(file.fileno()).st_mtime_ns
            if version != before:
                return KeptCheckpoint(version, np.fromfile(file, np.uint8))
        return None

    def warm_up(self, user_code: bool) -> None:
        """Start the process that workers are forked from."""
        forkserver.warm_up(user_code=user_code)

    def end(self) -> None:
        """End all trials, and wait until they have ended; their files stay until `clear`."""
        self._closing = True
        self._ended.wait()

    def clear(self) -> None:
        """Delete what the agent keeps on its node."""
        self._scratch.close()


def _end_with_parent(parent: int) -> None:
    """End this process, and so its workers, once Ray's process on this node has ended.

    Ray would wait for `run`, which does not return.
    """
    while os.getppid() == parent:
        time.sleep(PARENT_EVERY_S)
    os._exit(1)


def _fetch(chunks: Mapping[str, Sequence[Any]], folder: Path) -> None:
    import ray

    write(folder, {name: map(ray.get, parts) for name, parts in chunks.items()})
