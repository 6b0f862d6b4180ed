"""How a contestant is run, and when it is ended."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from benchmarks import contestants
from benchmarks.contestants import run_alone

FOREVER = 3600.0
#: says that it runs, and goes on until it is ended
WAITS = "import pathlib, time; pathlib.Path('runs').touch(); time.sleep(3600)"


def test_a_program_that_has_enough_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contestants, "LOOK_EVERY_S", 0.05)
    command = [sys.executable, "-c", WAITS]
    runs = (tmp_path / "runs").exists
    code = run_alone(command, tmp_path, tmp_path / "log", time.time() + FOREVER, runs)
    assert code == 0 and runs()


@pytest.mark.parametrize("code", [0, 3])
def test_one_that_ends_by_itself_has_its_own_code(tmp_path: Path, code: int) -> None:
    command = [sys.executable, "-c", f"raise SystemExit({code})"]
    assert run_alone(command, tmp_path, tmp_path / "log", time.time() + FOREVER) == code
