"""Whom the kernel has killed for want of memory.

A count of such kills does not say whom they hit, and a worker may be killed by hand while others
are killed by the kernel. Its log names them.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

KERNEL_LOG = Path("/dev/kmsg")
#: numbers of processes in the log are those of this namespace, which is a machine's first one
FIRST_NAMESPACE = "pid:[4026531836]"
#: bytes of the longest record of the log, and more
RECORD = 1 << 16
KILLED = re.compile(rb"(?:[;:] ?|^)Killed process (\d+) \(", re.MULTILINE)


class KernelLog:
    """What the kernel says from now on, if this process may read that."""

    def __init__(self) -> None:
        self._file: int | None = None
        with contextlib.suppress(OSError):
            if str(Path("/proc/self/ns/pid").readlink()) == FIRST_NAMESPACE:
                self._file = os.open(KERNEL_LOG, os.O_RDONLY | os.O_NONBLOCK)
                os.lseek(self._file, 0, os.SEEK_END)
        self._killed: set[int] = set()

    def memory_kills(self) -> set[int] | None:
        """Numbers of the processes that it has killed for want of memory; None: it cannot be read.

        Where there is no such log a kill may have been for want of memory or not.
        """
        if self._file is None:
            return None
        while record := self._read(self._file):
            self._killed.update(map(int, KILLED.findall(record)))
        return self._killed

    @staticmethod
    def _read(file: int) -> bytes:
        """The next record, or some; nothing if there is none yet."""
        while True:
            try:
                return os.read(file, RECORD)
            except BlockingIOError:
                return b""
            except BrokenPipeError:  # it was overwritten; the next one is there
                continue

    def close(self) -> None:
        """Read it no more."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def memory_kills() -> int:
    """How many processes the kernel has killed for want of memory; 0 where it does not say."""
    for file in (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat")):
        with contextlib.suppress(OSError):
            for line in file.read_text(encoding="ascii").splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return 0
