"""The start of real processes, by which they are known."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lstm_sweep.search.process import identity
from lstm_sweep.search.process.identity import (
    NO_PROCESS,
    UNKNOWN_START,
    is_running,
    start_ticks,
)


def test_a_process_keeps_its_start_until_it_has_ended() -> None:
    child = subprocess.Popen(["sleep", "600"])
    started = start_ticks(child.pid)
    assert started >= start_ticks(os.getpid()) > UNKNOWN_START
    assert is_running(child.pid, started)
    assert not is_running(child.pid, started - 1)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie
    assert start_ticks(child.pid) == NO_PROCESS and not is_running(child.pid, started)
    child.wait()
    assert start_ticks(child.pid) == NO_PROCESS and not is_running(child.pid, started)


@pytest.mark.parametrize("name", ["a ) Z 1 b", "two words"])
def test_the_name_of_a_program_is_not_read_as_its_state(tmp_path: Path, name: str) -> None:
    program = shutil.copy(shutil.which("sleep") or "", tmp_path / name)
    child = subprocess.Popen([program, "600"])
    assert start_ticks(child.pid) > UNKNOWN_START
    child.kill()
    child.wait()


def test_without_proc_a_process_runs_or_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(identity, "PROC", tmp_path)
    child = subprocess.Popen(["sleep", "600"])
    assert start_ticks(child.pid) == UNKNOWN_START
    assert start_ticks(os.getppid()) == UNKNOWN_START
    assert not is_running(child.pid, UNKNOWN_START)
    child.kill()
    child.wait()
    assert [start_ticks(pid) for pid in (child.pid, 0, -1, 2**80)] == [NO_PROCESS] * 4
