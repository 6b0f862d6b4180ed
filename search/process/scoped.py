"""Settings and output of this process, restored after a `with`; and which process has a PID.

The start of a process in ticks since boot tells it from a later one with the same PID; that of
`psutil` changes when the clock is set.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def variable(name: str, value: str) -> Iterator[None]:
    """Set an environment variable, for imports and children that are started meanwhile."""
    with restored(name):
        os.environ[name] = value
        yield


@contextmanager
def restored(*names: str) -> Iterator[None]:
    """Restore the present values of environment variables; one that is not set is removed."""
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class Overrides:
    """Replaces attributes of objects while any thread is in `hold`.

    If several threads are, the values of the first apply to all.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: list[tuple[Any, str, dict[str, Any]]] = []

    @contextmanager
    def hold(self, values: Iterable[tuple[Any, str, Any]]) -> Iterator[None]:
        """Set attributes, each given as object, name and value."""
        with self._lock:
            if not self._inside:
                for owner, name, value in values:
                    own = {name: vars(owner)[name]} if name in vars(owner) else {}
                    self._before.append((owner, name, own))
                    setattr(owner, name, value)
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                while not self._inside and self._before:
                    owner, name, own = self._before.pop()
                    delattr(owner, name)
                    vars(owner).update(own)


def mute(descriptors: Iterable[int] = (1, 2)) -> None:
    """Discard what this process writes from now on: to standard output and error, or elsewhere."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for descriptor in descriptors:
        os.dup2(nothing, descriptor)
    os.close(nothing)


#: in place of the start of a process: there is none, or it has ended and only its parent has not
#: been told, or the system has no /proc (Linux has)
NO_PROCESS = -1


def start_ticks(pid: int) -> int:
    """Start of a process of this machine, in ticks, or `NO_PROCESS`."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return NO_PROCESS
    # the name of the program may have any characters; states of ended ones: zombie, dead (proc(5))
    fields = text.rpartition(")")[2].split()
    return NO_PROCESS if fields[0] in "ZX" else int(fields[19])  # 22 of all fields


def is_running(pid: int, started: int) -> bool:
    """Whether the process that has this PID started then and still runs."""
    return started > NO_PROCESS and start_ticks(pid) == started
