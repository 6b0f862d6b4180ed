"""A line for each change that somebody has asked for: who, what, when."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lstm_sweep.models.errors import cut
from lstm_sweep.models.strict_json import json_text
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.service.permissions import User

FILE = "audit.jsonl"
LONGEST_WHAT = 400


class Audit:
    """The list of changes, a JSON document a line; lines are only added."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / FILE
        self._lock = threading.Lock()

    def note(
        self,
        user: User,
        address: str,
        what: str,
        status: int,
        *,
        made: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Add a line; `made` is the path of what the request has made, `details` what it gave."""
        line: dict[str, Any] = {
            "when": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "who": user.name,
            "role": str(user.role),
            "from": address,
            "what": cut(without_secrets(what), LONGEST_WHAT),
            "status": status,
        }
        if made:
            line["made"] = made
        if details:
            line["details"] = details
        written = f"{json_text(line)}\n".encode("utf-8", "backslashreplace")
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        with self._lock:
            number = os.open(self.file, flags, 0o600)
            try:
                os.write(number, written)
            finally:
                os.close(number)
