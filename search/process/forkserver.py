"""Starts processes by forking one that has imported Keras: the forkserver of `multiprocessing`.

A process then starts in some 10 ms instead of 10 s, and its memory is freed when it ends. All
threads of this program share two forkservers, each of which is started when it is first needed: one
for networks of ours, whose Keras lacks what they do not use (`models.backend`), and one for
the user's code.
"""

from __future__ import annotations

import contextlib
import io
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
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
from pathlib import Path
from typing import Any, TypeVar

from typing_extensions import override

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.process.scoped import mute, variable
from lstm_sweep.search.process.secrets import take_secrets
from lstm_sweep.search.process.signals import signal_name

#: seconds from the first failure of a fork to its end; a forkserver that died is replaced, which
#: imports Keras again, for as long as that takes
FORK_WITHIN_S = 60.0
#: keeps Python from importing modules of the working folder, such as a `keras.py`
SAFE_PATH = "PYTHONSAFEPATH"

#: imported by both, before Keras and after it
MUTED = "lstm_sweep.search.process.muted"
PROGRAMS = ["lstm_sweep.search.engines.worker", "lstm_sweep.search.process.forkserver"]

#: for networks of ours, and for the user's code
_servers = {False: forkserver.ForkServer(), True: forkserver.ForkServer()}
_servers[False].set_forkserver_preload([MUTED, "lstm_sweep.models.network.training", *PROGRAMS])
_servers[True].set_forkserver_preload([MUTED, "keras", *PROGRAMS])
_context = multiprocessing.get_context("forkserver")
#: held while a process is forked or its exit code is read, which are not thread-safe
_lock = threading.RLock()


class _Process(context.ForkServerProcess):
    """A process that is forked from one of the forkservers."""

    #: whether it runs the user's code
    user_code = False

    @staticmethod
    @override
    def _Popen(process_obj: BaseProcess) -> _Popen:
        return _Popen(process_obj)


class _Popen(popen_forkserver.Popen):
    """Starts a process in which the script of this program is not run again.

    Python's own runs it, for functions that are defined in it. A script that calls this package
    outside of `if __name__ == "__main__"` would then do so in each worker.
    """

    _fds: list[int]

    def _launch(self, process_obj: _Process) -> None:
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
        server = _servers[process_obj.user_code]
        self.sentinel, pipe = server.connect_to_new_process(self._fds)
        ends = os.dup(pipe), self.sentinel
        self.finalizer = util.Finalize(self, util.close_fds, ends)  # type: ignore[attr-defined]
        with os.fdopen(pipe, "wb") as file:
            file.write(buffer.getbuffer())
        self.pid = forkserver.read_signed(self.sentinel)


def warm_up(*, user_code: bool = False) -> None:
    """Start the forkserver, with all of Keras if `user_code`; what is printed is discarded."""
    with _lock, variable(SAFE_PATH, "1"):
        _servers[user_code].ensure_running()


def fork(
    target: Callable[..., None], *arguments: Any, user_code: bool = False
) -> tuple[BaseProcess, Connection]:
    """Start a process that calls `target` with the arguments and the other end of a pipe."""
    until = math.inf
    while True:
        ours, theirs = _context.Pipe()
        process = _Process(target=target, args=(*arguments, theirs), daemon=True)
        process.user_code = user_code
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


Answer = TypeVar("Answer")

#: seconds between SIGTERM and SIGKILL
END_WITHIN_S = 5.0


def call(function: Callable[..., Answer], *arguments: object, user_code: bool = False) -> Answer:
    """Call a function of a module in another process, which may use all of Keras if `user_code`.

    Its `InputError` is raised as such, any other error as a `RuntimeError`, and so is its death.
    """
    answers: list[Answer] = list(stream(_once, function, *arguments, user_code=user_code))
    return answers[0]


def stream(
    function: Callable[..., Iterable[Answer]], *arguments: object, user_code: bool = False
) -> Iterator[Answer]:
    """Yield what a function yields in another process, as `call`; it ends when this is closed."""
    process, ours = fork(_serve, function, arguments, Path.cwd(), user_code=user_code)
    try:
        yield from _answers(process, ours)
    finally:
        ours.close()
        for number in (signal.SIGTERM, signal.SIGKILL):
            if exit_code(process, 0) is None and process.pid:
                with contextlib.suppress(OSError):
                    os.kill(process.pid, number)
                exit_code(process, END_WITHIN_S)
        if exit_code(process, 0) is not None:
            process.close()


def _answers(process: BaseProcess, pipe: Connection) -> Iterator[Any]:
    while True:
        try:
            kind, answer = pipe.recv()
        except (EOFError, OSError):
            code = exit_code(process, END_WITHIN_S)
            why = signal_name(-code) if code and code < 0 else f"exit code {code}"
            raise RuntimeError(f"a process was ended in the midst of its work: {why}") from None
        if kind == "end":
            exit_code(process, END_WITHIN_S)
            return
        if kind == "error":
            raise answer
        yield answer


def _once(function: Callable[..., Answer], *arguments: object) -> Iterator[Answer]:
    yield function(*arguments)


def _serve(
    function: Callable[..., Iterable[object]],
    arguments: tuple[object, ...],
    folder: Path,
    pipe: Connection,
) -> None:
    """Send each value that a function yields, and then its end or its error."""
    for number in (signal.SIGINT, signal.SIGHUP):  # they are sent to the whole group
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    take_secrets(os.environ)
    mute()
    os.chdir(folder)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        for answer in function(*arguments):
            pipe.send(("answer", answer))
        pipe.send(("end", None))
    except BrokenPipeError:  # the iterator is closed
        return
    except Exception as error:
        pipe.send(("error", _sendable(error)))


def _sendable(error: Exception) -> Exception:
    """The same error in a form that can be unpickled, with its traceback as a note."""
    if isinstance(error, InputError):
        return InputError(str(error))
    text = str(error) if type(error) is RuntimeError else f"{type(error).__name__}: {error}"
    found = RuntimeError(text)
    found.add_note("".join(traceback.format_exception(error)))
    return found


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(END_WITHIN_S)
    os._exit(1)
