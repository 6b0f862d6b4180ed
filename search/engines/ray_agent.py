"""For `ray`: the agent, an actor that holds slots on a node and runs trials on them as `local`."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import os
import platform
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.search.engines import hardware
from lstm_sweep.search.engines.base import Event
from lstm_sweep.search.engines.local import LocalEngine, SlotSharing
from lstm_sweep.search.process import forkserver
from lstm_sweep.search.process.files import TEMPORARY, locked, private
from lstm_sweep.search.values.trial import Computing, Device, Ended, Job, Outcome, Paused, Slot

Bytes = NDArray[np.uint8]

#: end of the name of a file that is not complete
PARTIAL = ".partial"


def read(folder: Path) -> dict[str, Bytes]:
    """The files of a folder by name, each as `<uint8>[bytes]`; none if there is no such folder."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return {
        file.name: np.fromfile(file, np.uint8)
        for file in files
        if file.is_file() and not file.name.endswith(PARTIAL)
    }


def digest(files: Mapping[str, Bytes]) -> str:
    """Hash of the names and contents of files, 32 hexadecimal digits."""
    whole = hashlib.blake2b(digest_size=16)
    for name, data in files.items():
        whole.update(f"{name}\0{len(data)}\0".encode("utf-8", "surrogateescape"))
        whole.update(data.data)
    return whole.hexdigest()


def write(folder: Path, files: Mapping[str, Bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        file = folder / Path(name).name  # a name is no path out of the folder
        partial = file.with_name(f"{file.name}{PARTIAL}")
        try:
            partial.write_bytes(data.data)
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)


AGENTS, CORPORA, CORES = "agents", "corpora", "cores"


class Scratch:
    """An agent's folder, corpora and cores, locked: others delete what one that ended has left."""

    def __init__(self, root: Path | None = None) -> None:
        """`root` is the folder that all agents of a user on this machine share."""
        own = root or private(Path(tempfile.gettempdir()) / f"lstm-sweep-{os.getuid()}")
        self._root = own or Path(tempfile.mkdtemp(prefix=TEMPORARY))
        #: descriptors of the locked folders
        self._held: dict[Path, int] = {}
        self._cores: SlotSharing | None = None
        with locked(self._root / AGENTS):
            _delete_unused(self._root / AGENTS)
            self.folder = Path(tempfile.mkdtemp(dir=self._root / AGENTS))
            self._hold(self.folder)

    def corpus(self, digest: str, write: Callable[[Path], None]) -> Path:
        """The folder of a corpus; `write` writes it, once on a node however many agents use it."""
        folder = self._root / CORPORA / digest
        if folder not in self._held:
            with locked(self._root / CORPORA):
                _delete_unused(self._root / CORPORA, folder)
                if not folder.is_dir():
                    with tempfile.TemporaryDirectory(dir=self._root / CORPORA) as made:
                        write(Path(made) / digest)
                        (Path(made) / digest).replace(folder)
                self._hold(folder)
        return folder

    def take_cores(self, count: int, cores: Sequence[int]) -> list[int]:
        """Those first that no other agent of this user has; some twice if there are few."""
        (self._root / CORES).mkdir(exist_ok=True)
        self._cores = SlotSharing([Slot(0, core=core) for core in cores], self._root / CORES)
        names = [self._cores.take()[0] for _ in range(count)]
        taken = [self._cores.at(name, Slot(0)).core or 0 for name in names if name]
        rest = [core for core in cores if core not in taken] or list(cores)
        return taken + [rest[index % len(rest)] for index in range(count - len(taken))]

    def _hold(self, folder: Path) -> None:
        self._held[folder] = os.open(folder, os.O_RDONLY)
        fcntl.flock(self._held[folder], fcntl.LOCK_SH)

    def close(self) -> None:
        if self._cores:
            self._cores.close()
        while self._held:
            os.close(self._held.popitem()[1])
        for kind in (AGENTS, CORPORA):
            with locked(self._root / kind):
                _delete_unused(self._root / kind)


def _delete_unused(folder: Path, wanted: Path | None = None) -> None:
    """Delete the folders within one that nobody holds, but for one that is wanted."""
    for unused in folder.iterdir():
        with contextlib.suppress(OSError):
            number = os.open(unused, os.O_RDONLY)
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if unused != wanted:
                    shutil.rmtree(unused, ignore_errors=True)
            finally:
                os.close(number)


#: packages whose versions on all nodes must be the driver's
PACKAGES = ("keras", "tensorflow", "numpy", "ray")
#: folders of this program, whose code must be the driver's too
CODE = tuple(Path(__file__).parents[2] / name for name in ("models", "search", "spaces"))
#: groups of threads of an agent: for each trial one, for calls that must not wait, for files
TRIALS, CONTROL, FILES = "trials", "control", "files"
#: seconds between two looks at whether a trial is to be stopped
LOOK_S = 0.1
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
class KeptCheckpoint:
    """A trial that runs has written a checkpoint, which is copied now and then."""

    data: Bytes


@dataclass(frozen=True)
class SharedCorpus:
    """A corpus in Ray's object store."""

    digest: str
    #: the reference to its files, in a list: else Ray would resolve it before the trial begins
    files: list[Any]


def versions() -> dict[str, str]:
    """Versions of Python, of the packages that compute a trial, and of this program.

    That is a hash of its code, which it has also where it was sent as `py_modules`.
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
    names = [name for name in ours if theirs.get(name) != ours[name]]
    if not names:
        return ""
    there = ", ".join(f"{name} {theirs.get(name)}" for name in names)
    here = ", ".join(f"{name} {ours[name]}" for name in names)
    return f"it has {there} and the driver {here}: expected the same on all nodes"


class Agent:
    """Holds slots of a node; each call of `train` runs a trial, as `local` does on its machine."""

    def __init__(self, node: str, slots: int, *, on_gpus: bool, root: Path | None = None) -> None:
        """Take `slots` slots: on the GPUs that Ray gives, or on CPU cores."""
        threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
        # Ray sets it to the number of CPUs; workers of `local` do not have it
        os.environ.pop("OMP_NUM_THREADS", None)
        if not on_gpus:  # Ray leaves the GPUs of the node visible
            os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        self._scratch = Scratch(root)
        if on_gpus:
            cards = hardware.find_gpus()
            own = [Slot(i, gpu=cards[i % len(cards)], node=node) for i in range(slots)]
        else:
            cores = self._scratch.take_cores(slots, hardware.cores())
            own = [Slot(i, core=core, node=node) for i, core in enumerate(cores)]
        device = replace(hardware.describe(own[0].gpu if own else None), node=node)
        self._hello = Hello(tuple(own), device, versions(), os.getpid())
        #: folder of the trial that was started last on each slot
        self._folders: dict[Slot, Path] = {}
        #: trials that were told to stop, by their number
        self._stopped: dict[int, Ended | Paused] = {}
        self._fetches = futures.ThreadPoolExecutor(1)
        self._closing = threading.Event()
        #: held by each trial that has a worker, and by `end` until there is none
        self._workers = threading.Semaphore(slots)
        self._count = slots

    def run(self) -> Iterator[Hello]:
        """Say what the agent has; that this goes on is its sign of life."""
        yield self._hello
        self._closing.wait()

    def train(
        self,
        number: int,
        job: Job,
        files: Mapping[str, Bytes],
        corpus: SharedCorpus | None,
        copy_every_s: float,
    ) -> Iterator[Event | KeptCheckpoint]:
        """Run a trial with the files of its folder; the last message is as that of an engine.

        Its checkpoint is yielded every `copy_every_s` seconds, if it is a new one.
        """
        slot, folder = job.slot, self._scratch.folder / str(number)
        if before := self._folders.get(slot):
            shutil.rmtree(before, ignore_errors=True)
        self._folders[slot] = folder
        job = replace(job, folder=folder)
        with self._workers, LocalEngine((slot,)) as engine:
            failed = "its files could not be written"
            try:
                write(folder, files)
                failed = "its corpus did not come"
                if corpus:
                    fetched = self._fetches.submit(self._fetch, corpus)
                    while not futures.wait([fetched], COMPUTING_EVERY_S).done:
                        yield Computing()
                        if stopped := self._stopped.pop(number, None):
                            yield stopped
                        if stopped or self._closing.is_set():
                            return
                    job = replace(job, training=job.training.reading(fetched.result()))
                failed = "no worker could be started"
                engine.start(job)
            except Exception as error:  # of the disk, of Ray, or of the forkserver
                reason = f"{failed}: {type(error).__name__}: {error}"
                yield Ended(Outcome.LOST, reason, unfinished=True)
                return
            yield from self._heard(number, engine, job, copy_every_s)

    def _fetch(self, corpus: SharedCorpus) -> Path:
        import ray

        return self._scratch.corpus(
            corpus.digest, lambda folder: write(folder, ray.get(corpus.files[0]))
        )

    def _heard(
        self, number: int, engine: LocalEngine, job: Job, copy_every_s: float
    ) -> Iterator[Event | KeptCheckpoint]:
        due, copied = time.monotonic() + copy_every_s, _written_at(job.checkpoint)
        while not self._closing.is_set():
            if stopped := self._stopped.pop(number, None):
                engine.stop(job.slot, stopped)
            for _, event in engine.wait(LOOK_S):
                yield event
                if isinstance(event, Ended | Paused):
                    return
            if time.monotonic() >= due:
                due = time.monotonic() + copy_every_s
                written = _written_at(job.checkpoint)
                if written and written != copied:
                    copied = written
                    yield KeptCheckpoint(np.fromfile(job.checkpoint, np.uint8))

    def stop(self, number: int, ended: Ended | Paused) -> None:
        self._stopped.setdefault(number, ended)

    def collect(self, slot: Slot) -> dict[str, Bytes]:
        return read(self._folders[slot]) if slot in self._folders else {}

    def warm_up(self, user_code: bool) -> None:
        forkserver.warm_up(user_code=user_code)

    def end(self) -> None:
        """End all trials, and wait until they have ended; their files stay until `leave`."""
        self._closing.set()
        for _ in range(self._count):
            self._workers.acquire()

    def leave(self) -> None:
        self._scratch.close()
        os._exit(0)


def _written_at(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _end_with_parent(parent: int) -> None:
    """End with Ray's process on this node, which would wait for `run`."""
    while os.getppid() == parent:
        time.sleep(PARENT_EVERY_S)
    os._exit(1)
