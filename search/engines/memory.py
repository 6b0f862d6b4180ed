"""Which processes the Linux kernel has killed for lack of memory.

The kernel's counter of such kills does not tell which processes were killed; its log does.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

KERNEL_LOG = Path("/dev/kmsg")
#: the initial PID namespace, whose process IDs the log has
FIRST_NAMESPACE = "pid:[4026531836]"
#: more bytes than the longest record of the log has
RECORD_BYTES = 1 << 16
KILLED = re.compile(rb"(?:[;:] ?|^)Killed process (\d+) \(", re.MULTILINE)


class KernelLog:
    """The records of the kernel's log from now on, if this process may read them."""

    def __init__(self) -> None:
        self._file: int | None = None
        with contextlib.suppress(OSError):
            if str(Path("/proc/self/ns/pid").readlink()) == FIRST_NAMESPACE:
                self._file = os.open(KERNEL_LOG, os.O_RDONLY | os.O_NONBLOCK)
                os.lseek(self._file, 0, os.SEEK_END)
        self._killed: set[int] = set()

    def memory_kills(self) -> set[int] | None:
        """IDs of the processes killed for lack of memory so far; None if the log cannot be read."""
        if self._file is None:
            return None
        while record := self._read(self._file):
            self._killed.update(map(int, KILLED.findall(record)))
        return self._killed

    @staticmethod
    def _read(file: int) -> bytes:
        """The next record; empty if there is none."""
        while True:
            try:
                return os.read(file, RECORD_BYTES)
            except BlockingIOError:
                return b""
            except BrokenPipeError:  # the record was overwritten; the next one can be read
                continue

    def close(self) -> None:
        """Close the log."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def memory_kills() -> int:
    """The kernel's counter of processes killed for lack of memory; 0 if there is none."""
    for file in (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat")):
        with contextlib.suppress(OSError):
            for line in file.read_text(encoding="ascii").splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return 0
