"""Starts processes by forking one that has imported Keras: the forkserver of `multiprocessing`.

A process then starts in some 10 ms instead of 10 s, and its memory is freed when it ends. All
threads of this program share two forkservers, each of which is started when it is first needed: one
for networks of ours, whose Keras lacks what they do not use (`models.keras_import`), and one for
the user's code.
"""

from __future__ import annotations

import io
import math
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
from typing import Any, ClassVar

from typing_extensions import override

from lstm_sweep.search.process.scoped import variable

#: seconds from the first failure of a fork to its end; a forkserver that died is replaced, which
#: imports Keras again, for as long as that takes
FORK_WITHIN_S = 60.0
#: keeps Python from importing modules of the working folder, such as a `keras.py`
SAFE_PATH = "PYTHONSAFEPATH"

#: imported by both, before Keras and after it
MUTED = "lstm_sweep.search.process.muted"
PROGRAMS = ["lstm_sweep.search.engines.worker", "lstm_sweep.search.process.isolated"]

_lean, _whole = forkserver.ForkServer(), forkserver.ForkServer()
_lean.set_forkserver_preload([MUTED, "lstm_sweep.search.engines.preload", *PROGRAMS])
_whole.set_forkserver_preload([MUTED, "keras", *PROGRAMS])
_context = multiprocessing.get_context("forkserver")
#: held while a process is forked or its exit code is read, which are not thread-safe
_lock = threading.RLock()


class _Popen(popen_forkserver.Popen):
    """A process in which the script of this program is not run again.

    Python's own runs it, for functions that are defined in it. A script that calls this package
    outside of `if __name__ == "__main__"` would then do so in each worker.
    """

    server: ClassVar[forkserver.ForkServer] = _lean
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
        self.sentinel, pipe = self.server.connect_to_new_process(self._fds)
        self.finalizer = util.Finalize(self, _close, (os.dup(pipe), self.sentinel))
        with os.fdopen(pipe, "wb") as file:
            file.write(buffer.getbuffer())
        self.pid = forkserver.read_signed(self.sentinel)


class _UserPopen(_Popen):
    """One that runs the user's code."""

    server = _whole


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


class _Process(context.ForkServerProcess):
    """A process that is forked from the forkserver."""

    @staticmethod
    @override
    def _Popen(process_obj: BaseProcess) -> _Popen:
        return _Popen(process_obj)


class _UserProcess(context.ForkServerProcess):
    """The same for the user's code."""

    @staticmethod
    @override
    def _Popen(process_obj: BaseProcess) -> _Popen:
        return _UserPopen(process_obj)


def warm_up(*, user_code: bool = False) -> None:
    """Start the forkserver; what Keras and its backend print at import is discarded.

    With `user_code`, all of Keras is imported, since the user's code is going to use it.
    """
    server = _server_of(user_code)
    with _lock:
        if not _is_running(server):
            with variable(SAFE_PATH, "1"):
                server.ensure_running()


def _server_of(user_code: bool) -> forkserver.ForkServer:
    return _whole if user_code else _lean


def pid_of(*, user_code: bool = False) -> int | None:
    """The forkserver's process; None before it is started."""
    pid: int | None = getattr(_server_of(user_code), "_forkserver_pid", None)
    return pid


def fork(
    target: Callable[..., None], *arguments: Any, user_code: bool = False
) -> tuple[BaseProcess, Connection]:
    """Start a process that calls `target` with the arguments and one end of a pipe.

    Returns the process and the other end of the pipe.

    Raises:
        OSError, EOFError: no process could be forked within `FORK_WITHIN_S` of the first failure.
    """
    until = math.inf
    while True:
        ours, theirs = _context.Pipe()
        kind = _UserProcess if user_code else _Process
        process = kind(target=target, args=(*arguments, theirs), daemon=True)
        try:
            with _lock:
                warm_up(user_code=user_code)
                process.start()
            return process, ours
        except (OSError, EOFError):  # the forkserver was killed
            ours.close()
            until = min(until, time.monotonic() + FORK_WITHIN_S)
            if time.monotonic() >= until:
                raise
            time.sleep(0.1)
        finally:
            theirs.close()


def exit_code(process: BaseProcess, within_s: float | None) -> int | None:
    """Exit code of a process, negative if by a signal; None if it runs on after `within_s`."""
    connection.wait([process.sentinel], within_s)
    with _lock:
        return process.exitcode


def _is_running(server: forkserver.ForkServer) -> bool:
    pid = getattr(server, "_forkserver_pid", None)
    if pid is None or not hasattr(os, "waitid"):
        return False
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False
