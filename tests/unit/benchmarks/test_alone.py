"""What benchmarks share: how one ends, and the program that it runs alone."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.alone import check_same, run_alone
from lstm_sweep.models.errors import InputError


@pytest.mark.parametrize("code", [0, 3])
def test_a_program_that_ends_by_itself_has_its_own_code(tmp_path: Path, code: int) -> None:
    command = [sys.executable, "-c", f"raise SystemExit({code})"]
    assert run_alone(command, tmp_path, tmp_path / "log", time.time() + 3600) == code


def test_a_program_whose_time_is_over_is_ended_with_its_children(tmp_path: Path) -> None:
    waits = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {!r}]); {}"
    child = "import os, time; os.symlink(str(os.getpid()), 'child'); time.sleep(3600)"
    command = [sys.executable, "-c", waits.format(child, "time.sleep(3600)")]
    assert run_alone(command, tmp_path, tmp_path / "log", time.time() + 3.0) == 0
    command_line = Path("/proc") / (tmp_path / "child").readlink() / "cmdline"
    # one that nobody has waited for yet has none
    assert not command_line.exists() or not command_line.read_bytes()


def test_runs_of_another_setting_are_refused() -> None:
    runs = [SimpleNamespace(minutes=10.0, workers=2)]
    check_same(Path("runs.jsonl"), runs, minutes=10.0)
    with pytest.raises(InputError, match=r"runs.jsonl: has runs with minutes 10\.0, expected 5\.0"):
        check_same(Path("runs.jsonl"), runs, workers=2, minutes=5.0)
