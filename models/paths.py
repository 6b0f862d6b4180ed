"""Paths as users name them, with the same errors in each version of Python."""

from __future__ import annotations

import contextlib
from pathlib import Path

from lstm_sweep.models.errors import cut


def resolved(given: str | Path) -> Path:
    """The absolute path of what is named, without `~` and links; nothing has to be there.

    Raises:
        OSError: it may not be looked at, its name is too long, or links lead in a circle.
        RuntimeError: there is no such user.
        ValueError: it has a null character.
    """
    path = Path(given).expanduser()
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        path.stat()
    return path.resolve()


def why_not(error: OSError | RuntimeError | ValueError) -> str:
    """Why a path cannot be used, from an error of `resolved` or of a function that opens it."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, ValueError) and "embedded null" in str(error):
        return "embedded null byte"
    return cut(str(error))
