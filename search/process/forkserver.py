"""Processes forked from one that has imported Keras once: this program's *forkserver*.

So a process starts in hundredths of a second instead of ten seconds, and its memory returns when it
ends. There is one forkserver for all threads of this program.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from multiprocessing import (
    connection,
    context,
    forkserver,
    popen_forkserver,
    reduction,
    spawn,
    util,
)
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from typing_extensions import override

from lstm_sweep.search.process.scoped import variable

#: seconds within which a process must be forked: to replace a forkserver takes its import of Keras
FORK_WITHIN_S = 60.0
#: keeps Python from importing what lies in the working folder, such as one called `keras`
SAFE_PATH = "PYTHONSAFEPATH"

_context = multiprocessing.get_context("forkserver")
#: held while a process is forked, or its exit code fetched: neither is safe in two threads
_lock = threading.RLock()


class _Popen(popen_forkserver.Popen):
    """A process in which the script of this program is not run again.

    Python's own runs it, for functions that are defined in it. A script that calls this package
    outside of `if __name__ == "__main__"` would then do so in each worker.
    """

    _fds: list[int]

    def _launch(self, process_obj: BaseProcess) -> None:
        """As Python's own, without what would run the script."""
        data = spawn.get_preparation_data(process_obj.name)
        data = {key: value for key, value in data.items() if not key.startswith("init_main")}
        buffer = io.BytesIO()
        context.set_spawning_popen(self)
        try:
            reduction.dump(data, buffer)
            reduction.dump(process_obj, buffer)
        finally:
            context.set_spawning_popen(None)
        self.sentinel, pipe = forkserver.connect_to_new_process(self._fds)
        self.finalizer = util.Finalize(self, _close, (os.dup(pipe), self.sentinel))
        with os.fdopen(pipe, "wb") as file:
            file.write(buffer.getbuffer())
        self.pid = forkserver.read_signed(self.sentinel)


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


class _Process(context.ForkServerProcess):
    """A process that is forked from the forkserver."""

    @staticmethod
    @override
    def _Popen(process_obj: BaseProcess) -> _Popen:
        return _Popen(process_obj)


def warm_up(*, foreign: bool = False) -> None:
    """Start the forkserver; what Keras and its backend print at import goes nowhere.

    `foreign` says that code of the user is going to be run, which may need anything of Keras.
    """
    with _lock:
        if _is_running():
            return
        _context.set_forkserver_preload(
            [
                "lstm_sweep.search.process.muted",
                "keras" if foreign else "lstm_sweep.search.engines.preload",
                "lstm_sweep.search.engines.worker",
                "lstm_sweep.search.process.isolated",
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
        process = _Process(target=target, args=(*arguments, theirs), daemon=True)
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
