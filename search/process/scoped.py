"""Settings and output of the whole process, restored at the end of a `with` statement."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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


def mute() -> None:
    """Discard standard output and error of this process from now on."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)
