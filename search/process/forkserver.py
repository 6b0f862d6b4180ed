"""Starts processes by forking one that has imported Keras: the forkserver of `multiprocessing`.

A process then starts in some 10 ms instead of 10 s, and its memory is freed when it ends. All
threads of this program share one forkserver.
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

#: seconds until a fork fails; a forkserver that died is replaced, which imports Keras again
FORK_WITHIN_S = 60.0
#: keeps Python from importing modules of the working folder, such as a `keras.py`
SAFE_PATH = "PYTHONSAFEPATH"

_context = multiprocessing.get_context("forkserver")
#: held while a process is forked or its exit code is read, which are not thread-safe
_lock = threading.RLock()


def warm_up(*, foreign: bool = False) -> None:
    """Start the forkserver; what Keras and its backend print at import is discarded.

    With `foreign`, all of Keras is imported, since the user's code is going to use it.
    """
    with _lock:
        if _is_running():
            return
        _context.set_forkserver_preload(
            # the last, since each worker imports the script of the program again
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
    """Start a process that calls `target` with the arguments and one end of a pipe.

    Returns the process and the other end of the pipe.

    Raises:
        OSError, EOFError: no process could be forked within `FORK_WITHIN_S`.
    """
    until = time.monotonic() + FORK_WITHIN_S
    while True:
        ours, theirs = _context.Pipe()
        process = _context.Process(target=target, args=(*arguments, theirs), daemon=True)
        try:
            with _lock:
                warm_up(foreign=foreign)
                process.start()
            return process, ours
        except (OSError, EOFError):  # the forkserver was killed
            ours.close()
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        finally:
            theirs.close()


def exit_code(process: BaseProcess, within_s: float | None) -> int | None:
    """Exit code of a process, negative if by a signal; None if it runs on after `within_s`."""
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
