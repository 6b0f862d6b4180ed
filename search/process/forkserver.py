"""Processes forked from one that has imported Keras once: this program's *forkserver*.

So a process starts in hundredths of a second instead of ten seconds, and its memory returns when it
ends. There is one forkserver for all threads of this program.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from multiprocessing import connection, forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from lstm_sweep.search.process.scoped import variable

#: seconds within which a process must be forked: to replace a forkserver takes its import of Keras
FORK_WITHIN_S = 60.0
#: keeps Python from importing what lies in the working folder, such as one called `keras`
SAFE_PATH = "PYTHONSAFEPATH"

_context = multiprocessing.get_context("forkserver")
#: held while a process is forked, or its exit code fetched: neither is safe in two threads
_lock = threading.RLock()


def warm_up(*, foreign: bool = False) -> None:
    """Start the forkserver; what Keras and its backend print at import goes nowhere.

    `foreign` says that code of the user is going to be run, which may need anything of Keras.
    """
    with _lock:
        if _is_running():
            return
        _context.set_forkserver_preload(
            # the last since each worker runs the program's script again, to no effect
            [
                "lstm_sweep.search.process.muted",
                "keras" if foreign else "lstm_sweep.search.engines.preload",
                "lstm_sweep.search.engines.worker",
                "lstm_sweep.search.process.isolated",
                "lstm_sweep.search.cli",
            ]
        )
        with variable(SAFE_PATH, "1"):
            forkserver.ensure_running()


def fork(
    target: Callable[..., None], *arguments: Any, foreign: bool = False
) -> tuple[BaseProcess, Connection]:
    """A process that calls `target` with arguments and its end of a pipe; and our end of it."""
    until = time.monotonic() + FORK_WITHIN_S
    while True:
        ours, theirs = _context.Pipe()
        process = _context.Process(target=target, args=(*arguments, theirs), daemon=True)
        try:
            with _lock:
                warm_up(foreign=foreign)
                process.start()
            return process, ours
        except (OSError, EOFError):  # the forkserver was killed, or is dying just now
            ours.close()
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        finally:
            theirs.close()


def exit_code(process: BaseProcess, within_s: float | None) -> int | None:
    """How a process has ended, negative if by a signal; None if it has not, in so many seconds."""
    connection.wait([process.sentinel], within_s)
    with _lock:
        return process.exitcode


def _is_running() -> bool:
    pid = getattr(forkserver._forkserver, "_forkserver_pid", None)
    if pid is None or not hasattr(os, "waitid"):
        return False
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False
