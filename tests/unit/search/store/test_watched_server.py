"""Servers whose service was killed; a process that sleeps stands in for one."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from lstm_sweep.search.process.identity import start_ticks
from lstm_sweep.search.store import watched_server


@pytest.mark.parametrize("script", ["sleep 600", "trap '' TERM; while :; do sleep 0.1; done"])
def test_one_whose_service_was_killed_is_ended(
    tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched_server, "ENDS_WITHIN_S", 0.5)
    orphan = subprocess.Popen(["sh", "-c", script], start_new_session=True)
    note = tmp_path / "note"
    note.write_text(f"{orphan.pid} {start_ticks(orphan.pid)}")
    watched_server._end_orphan(note)
    assert orphan.wait(10) in (-signal.SIGTERM, -signal.SIGKILL)


@pytest.mark.parametrize("text", ["{pid} 1", "{pid}", "", "no number"])
def test_a_process_that_is_another_one_is_spared(tmp_path: Path, text: str) -> None:
    other = subprocess.Popen(["sleep", "600"], start_new_session=True)
    note = tmp_path / "note"
    note.write_text(text.format(pid=other.pid))
    watched_server._end_orphan(note)
    assert other.poll() is None
    other.kill()
    other.wait()
