"""Which process has a PID: its start tells it from a later one with the same PID.

`psutil.Process.create_time` does not replace this: it adds the boot time by the system's clock,
which changes when the clock is set.
"""

from __future__ import annotations

import os
from pathlib import Path

#: in place of the start of a process: there is none, or it has ended and only its parent has not
#: been told; and: it runs, but the system has no /proc (Linux has)
NO_PROCESS, UNKNOWN_START = -1, 0
#: states of processes that have ended: zombie, dead (proc(5))
ENDED = "ZX"
#: index of the start time in /proc/PID/stat behind the name of the program (proc(5), field 22)
START = 19

PROC = Path("/proc")


def start_ticks(pid: int) -> int:
    """Start of a process of this machine in clock ticks since boot.

    `NO_PROCESS` if it has ended, `UNKNOWN_START` if it runs and the system does not say when it
    started.
    """
    if not (PROC / "self/stat").exists():
        return UNKNOWN_START if _exists(pid) else NO_PROCESS
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return NO_PROCESS
    fields = text.rpartition(")")[2].split()  # the name of the program may have any characters
    return NO_PROCESS if fields[0] in ENDED else int(fields[START])


def is_running(pid: int, started: int) -> bool:
    """Whether the process that has this PID started at `started`, in ticks, and still runs.

    False where the system does not say when processes started.
    """
    return started > UNKNOWN_START and start_ticks(pid) == started


def _exists(pid: int) -> bool:
    if pid <= 0:  # a group of processes
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
