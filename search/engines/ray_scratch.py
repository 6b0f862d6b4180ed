"""For `ray`: what agents of one user keep on a node, in a folder that they share.

Locks of files say what is in use. They end with the process that holds them, however it ends, so
the next agent on the node deletes what a killed one has left.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from lstm_sweep.search.process import workdir
from lstm_sweep.search.process.folder_lock import locked

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
