"""Who has done what, and when: changes, logins and downloads; and apart from them, refusals.

A change has two lines: one before it is made, so that none is made that cannot be noted, and one
that says what came of it. Whoever has no login can make only lines of refusals, which have a file
of their own, so that they push out nothing else.
"""

from __future__ import annotations

import errno
import os
import secrets
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lstm_sweep.models.errors import cut
from lstm_sweep.models.strict_json import json_text
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.service.logs import rotate
from lstm_sweep.search.service.permissions import User

FILE, REFUSALS = "audit.jsonl", "refusals.jsonl"
LONGEST_WHAT = 400


class Audit:
    """The two lists, a JSON document a line; a list that is large is begun anew.

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
