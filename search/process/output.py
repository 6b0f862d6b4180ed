"""Keeping libraries that print at import off the terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

_lock = threading.Lock()
#: how many `silenced` are open in this process, and what the first has put aside
_open = 0
_kept: list[int] = []


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Point standard output and error of this process at nothing; children inherit that.

    By file descriptor, since TensorFlow's first lines come from C++ at any log level. Those that
    overlap, in several threads, end with the last one.
    """
    global _open
    with _lock:
        if not _open:
            _put_aside()
        _open += 1
    try:
        yield
    finally:
        with _lock:
            _open -= 1
            if not _open:
                _put_back()


def mute() -> None:
    """Point standard output and error of this process at nothing, for good."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)


def _put_aside() -> None:
    _flush()
    _kept[:] = [os.dup(1), os.dup(2)]
    mute()


def _put_back() -> None:
    _flush()
    for number, descriptor in zip((1, 2), _kept, strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it, or it is closed
            stream.flush()
