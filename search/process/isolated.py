"""Calls functions in a process of their own, so that this process keeps its state.

Loading a network sets the device, threads and seeds of its whole process, and its libraries print
at import.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.process import forkserver
from lstm_sweep.search.process.output import mute
from lstm_sweep.search.process.secrets import take_secrets
from lstm_sweep.search.process.signals import signal_name

Answer = TypeVar("Answer")

#: seconds between SIGTERM and SIGKILL
END_WITHIN_S = 5.0


def call(function: Callable[..., Answer], *arguments: object, user_code: bool = False) -> Answer:
    """Call a function of a module in another process, and return its result.

    With `user_code`, the function may use all of Keras.

    Raises:
        InputError: the function has raised one.
        RuntimeError: the function has raised another error, or its process has died.
    """
    answers: list[Answer] = list(stream(_once, function, *arguments, user_code=user_code))
    return answers[0]


def stream(
    function: Callable[..., Iterable[Answer]], *arguments: object, user_code: bool = False
) -> Iterator[Answer]:
    """Yield what a function yields in another process, which ends when the iterator is closed.

    Raises:
        InputError: the function has raised one.
        RuntimeError: the function has raised another error, or its process has died.
    """
    process, ours = forkserver.fork(_serve, function, arguments, Path.cwd(), user_code=user_code)
    try:
        yield from _answers(process, ours)
    finally:
        ours.close()
        for number in (signal.SIGTERM, signal.SIGKILL):
            if forkserver.exit_code(process, 0) is None and process.pid:
                with contextlib.suppress(OSError):
                    os.kill(process.pid, number)
                forkserver.exit_code(process, END_WITHIN_S)
        if forkserver.exit_code(process, 0) is not None:
            process.close()


def _answers(process: BaseProcess, pipe: Connection) -> Iterator[Any]:
    while True:
        try:
            kind, answer = pipe.recv()
        except (EOFError, OSError):
            code = forkserver.exit_code(process, END_WITHIN_S)
            why = signal_name(-code) if code and code < 0 else f"exit code {code}"
            raise RuntimeError(f"a process was ended in the midst of its work: {why}") from None
        if kind == "end":
            forkserver.exit_code(process, END_WITHIN_S)
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
    for number in (
        signal.SIGINT,
        signal.SIGHUP,
    ):  # sent to the whole group
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
    """Wait until the parent has ended, and then end this process."""
    if parent := multiprocessing.parent_process():
        parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(END_WITHIN_S)
    os._exit(1)
