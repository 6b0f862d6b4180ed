"""Drivers of a service that do nothing, for tests of what the service does with them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


def let_drivers_idle(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what a service starts with Python be a script in `folder` that waits to be ended."""
    script = folder / "driver"
    script.write_text("#!/bin/sh\nexec sleep 600\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
