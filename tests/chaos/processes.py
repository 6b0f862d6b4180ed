"""The processes of one test, found by a variable of their environment, and what each is."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

#: environment variable by which the processes of one test are known
MARK = "LSTM_SWEEP_CHAOS"


@dataclass(frozen=True)
class Process:
    """A process that is alive."""

    pid: int
    parent: int
    #: its command line
    line: str


def marked(mark: str) -> list[Process]:
    """The processes whose variable `MARK` has this value."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if f"{MARK}={mark}".encode() not in (entry / "environ").read_bytes():
                continue
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            state = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if state[0] != "Z":
            found.append(Process(int(entry.name), int(state[1]), line))
    return found


def kill(pid: int) -> None:
    """Kill a process, if it is there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def all_end(mark: str, within_s: float) -> list[Process]:
    """Wait until the processes with a mark have ended; those that are left after that time."""
    until = time.monotonic() + within_s
    while (left := marked(mark)) and time.monotonic() < until:
        time.sleep(0.2)
    return left
