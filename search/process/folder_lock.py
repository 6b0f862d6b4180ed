"""A folder in which one process at a time works."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Wait until no other process or thread has locked a folder, created if missing; lock it.

    The folder itself is locked, so no lock file is left in it (as by the package `filelock`), and
    it need not be writable. On a file system without locks, nothing is locked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            number = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, number)  # which unlocks it
            fcntl.flock(number, fcntl.LOCK_EX)
        yield
