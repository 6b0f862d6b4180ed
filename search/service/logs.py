"""What a service logs: errors, and who has done what; no log grows without bound."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

#: seconds between two lines that say the same
SELDOM_S = 60.0
#: bytes of a log after which it is begun anew; the one before it is kept as `NAME.old`
LOG_BYTES = 16 << 20

log = logging.getLogger("lstm_sweep.service")


class Seldom:
    """Logs what may happen often at most once a minute; lines are told apart by a key."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}

    def error(self, key: str, text: str) -> bool:
        """Log an error unless it was logged just now; whether it was; keys are few."""
        with self._lock:
            now = self._clock()
            if now - self._last.get(key, -SELDOM_S) < SELDOM_S:
                return False
            self._last[key] = now
        log.error("%s", text)
        return True


def old_of(file: Path) -> Path:
    """Where what was in a log before it was begun anew is kept."""
    return file.with_name(f"{file.name}.old")


def last_line(file: Path) -> str:
    """The last line of a log; empty if there is none."""
    with contextlib.suppress(OSError), file.open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - 10_000))
        lines = log.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else ""
    return ""


def rotate(file: Path, most: int = LOG_BYTES) -> None:
    """Begin a log anew that has become too large; nobody else has it open.

    Raises:
        OSError: it cannot be renamed.
    """
    with contextlib.suppress(FileNotFoundError):
        if file.stat().st_size >= most:
            file.replace(old_of(file))


def cut_open_log(file: Path, most: int = LOG_BYTES) -> None:
    """Begin a log anew that a process has open to append to; the last half of it is kept.

    What the process writes just then may be lost.
    """
    with contextlib.suppress(OSError), file.open("r+b") as opened:
        if opened.seek(0, os.SEEK_END) < most:
            return
        opened.seek(-most // 2, os.SEEK_END)
        kept = old_of(file)
        kept.touch(mode=0o600)
        kept.write_bytes(opened.read())
        opened.truncate(0)
