"""Drivers of a service that do nothing, for tests of what the service does with them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lstm_sweep.search.service.supervisor import Supervisor

#: locks its file as a driver does, with its process in it, and waits to be ended
IDLE = """#!/bin/sh
exec 9<>"$5"
flock 9
printf '%s 0 0' "$$" >&9
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
    child = supervisor.jobs[run_id].child
    assert child
    return child
