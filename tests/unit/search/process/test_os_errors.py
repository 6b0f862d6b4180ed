from __future__ import annotations

import errno
import sqlite3

import pytest

from lstm_sweep.search.process.files import NO_SPACE, permanent_reason


def wrapped(cause: Exception, text: str = "wrapped") -> Exception:
    try:
        raise RuntimeError(text) from cause
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    "error, why",
    [
        (OSError(errno.ENOSPC, "No space left on device"), NO_SPACE),
        (OSError(errno.EDQUOT, "quota"), NO_SPACE),
        (PermissionError(errno.EACCES, "Permission denied"), "no permission to write"),
        (OSError(errno.EROFS, "Read-only file system"), "it cannot be written"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory"), "a file where a folder"),
        (sqlite3.OperationalError("database or disk is full"), NO_SPACE),
        (sqlite3.OperationalError("attempt to write a readonly database"), "it cannot be written"),
        (sqlite3.OperationalError("Could not decode to UTF-8 column"), "is no text"),
        (wrapped(OSError(errno.ENOSPC, "x")), NO_SPACE),
        (RuntimeError("(sqlite3.OperationalError) database or disk is full"), NO_SPACE),
    ],
    ids=repr,
)
def test_a_permanent_error_is_named(error: Exception, why: str) -> None:
    assert why in permanent_reason(error)


@pytest.mark.parametrize(
    "error", [ValueError("x"), ConnectionResetError(), OSError(errno.EAGAIN, "again")], ids=repr
)
def test_other_errors_are_not_permanent(error: Exception) -> None:
    assert permanent_reason(error) == ""
