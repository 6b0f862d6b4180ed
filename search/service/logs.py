"""What a service logs: errors, and who has done what; no log grows without bound."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lstm_sweep.models.errors import cut
from lstm_sweep.models.strict_json import json_text
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.service.auth import User

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


FILE, REFUSALS = "audit.jsonl", "refusals.jsonl"
LONGEST_WHAT = 400


class Audit:
    """Who has done what: a list of changes, logins and downloads, and one of refusals.

    A list has a JSON document a line; one that is large is begun anew. A change has two lines: one
    before it is made, so that none is made that cannot be noted, and one that says what came of it.
    Whoever has no login can make only lines of refusals, which push out nothing else.

    All methods raise `OSError` if a line cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.file, self.refusals = folder / FILE, folder / REFUSALS
        self._lock = threading.Lock()

    def begin(self, user: User, address: str, what: str) -> str:
        """Note a change that is to be made; the mark of its two lines."""
        mark = secrets.token_hex(8)
        self._add(self.file, _line(user, address, what, None) | {"id": mark})
        return mark

    def note(
        self,
        user: User,
        address: str,
        what: str,
        status: int,
        *,
        mark: str = "",
        made: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Note what came of a request; `mark` is that of `begin`, if it is a change.

        `made` is the path of what the request has made, `details` what it gave.
        """
        more = {"id": mark, "made": made, "details": details}
        line = _line(user, address, what, status)
        self._add(self.file, line | {key: value for key, value in more.items() if value})

    def refuse(self, user: User | None, address: str, what: str, status: int) -> None:
        """Note a request that was refused."""
        self._add(self.refusals, _line(user, address, what, status))

    def _add(self, file: Path, line: Mapping[str, Any]) -> None:
        written = f"{json_text(line)}\n".encode("utf-8", "backslashreplace")
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        with self._lock:
            rotate(file)
            number = os.open(file, flags, 0o600)
            try:
                if os.write(number, written) < len(written):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(number)


def _line(user: User | None, address: str, what: str, status: int | None) -> dict[str, Any]:
    """What each line says; `status` is None until there is an answer."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "who": user.name if user else None,
        "role": str(user.role) if user else None,
        "from": address,
        "what": cut(without_secrets(what), LONGEST_WHAT),
        "status": status,
    }
