"""Drivers of a service that do nothing, for tests of what the service does with them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lstm_sweep.search.service.supervisor import Supervisor

#: waits to be ended, as long as it lives with the lock that it inherits
IDLE = """#!/bin/sh
exec sleep 600
"""


def let_drivers_idle(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what a service starts with Python be a script in `folder` that waits to be ended."""
    script = folder / "driver"
    script.write_text(IDLE)
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


def child_of(supervisor: Supervisor, run_id: str) -> subprocess.Popen[bytes]:
    """The process that a supervisor has started for a sweep or rerun."""
    child = supervisor.processes[run_id].child
    assert child
    return child
