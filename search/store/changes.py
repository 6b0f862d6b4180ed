"""Whether an SQLite store has changed, by the number that SQLite keeps for that."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Hashable
from pathlib import Path


class Changes:
    """Tells whether a store has changed, without reading it.

    `PRAGMA data_version` of one connection is another number once any other connection has
    committed a change, be it of this process or of another. Only SQLite has such a number.
    """

    def __init__(self, file: Path | None) -> None:
        """`file` is that of an SQLite store; None: another store."""
        self._file = file
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        #: device and number of the file that is open, and how many were opened
        self._place: tuple[int, int] | None = None
        self._opened = 0

    def mark(self) -> Hashable | None:
        """Equal as long as nothing has changed; None if nobody can tell."""
        if self._file is None:
            return None
        with self._lock:
            try:
                found = self._file.stat()
                if self._connection is None or self._place != (found.st_dev, found.st_ino):
                    self._close()  # the file was replaced, as by a backup
                    self._open(self._file)
                    self._place = (found.st_dev, found.st_ino)
                assert self._connection is not None
                # all rows, since a statement that has not ended keeps others from tidying up
                rows = self._connection.execute("PRAGMA data_version").fetchall()
            except (OSError, sqlite3.Error):
                self._close()
                return None
            return self._opened, rows[0][0]

    def _open(self, file: Path) -> None:
        self._connection = sqlite3.connect(
            f"{file.as_uri()}?mode=rw", uri=True, timeout=0, check_same_thread=False
        )
        self._opened += 1

    def _close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None
