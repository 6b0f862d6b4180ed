"""A folder that one process at a time works in."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Wait until no other process or thread holds this folder, which is made if missing; hold it.

    It is the folder itself that is locked, so no file is left, and it need not be writable. Where
    the file system has no locks, nothing is held.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            number = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, number)  # which lets go of the lock
            fcntl.flock(number, fcntl.LOCK_EX)
        yield
