"""Discards what libraries print at import."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

_lock = threading.Lock()
#: number of open `silenced` contexts in this process, and copies of the original descriptors
_open = 0
_originals: list[int] = []


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Discard standard output and error of this process, and of children started meanwhile.

    It works on file descriptors, since C++ code of TensorFlow prints at any log level. Contexts may
    overlap in several threads; the last to end restores the output.
    """
    global _open
    with _lock:
        if not _open:
            _redirect()
        _open += 1
    try:
        yield
    finally:
        with _lock:
            _open -= 1
            if not _open:
                _restore()


def mute() -> None:
    """Discard standard output and error of this process from now on."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)


def _redirect() -> None:
    _flush()
    _originals[:] = [os.dup(1), os.dup(2)]
    mute()


def _restore() -> None:
    _flush()
    for number, descriptor in zip((1, 2), _originals, strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # its reader has ended, or it is closed
            stream.flush()
