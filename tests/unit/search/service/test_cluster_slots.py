"""The process that counts the slots of a cluster: a script; tests/acceptance has a real one."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.service import cluster_slots
from lstm_sweep.search.service.cluster_slots import ClusterSlots


def counting(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> ClusterSlots:
    """One whose process is a script of the shell."""
    program = folder / "count"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(cluster_slots, "AGAIN_S", 0.0)
    return ClusterSlots()


def test_the_last_number_stays_and_the_process_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = tmp_path / "again"
    script = f"if [ -e {known} ]; then echo 5; exec sleep 60; fi; touch {known}; echo 4"
    slots = counting(tmp_path, script, monkeypatch)
    assert slots() == 0
    slots.start()
    try:
        until = time.monotonic() + 60
        while slots() != 5:
            assert slots() in (0, 4) and time.monotonic() < until
            time.sleep(0.01)
    finally:
        slots.close()
    assert slots() == 5


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo --on ray: found no cluster; exit 2", "found no cluster"),
        ("exit 1", "does not answer"),
    ],
)
def test_a_cluster_that_is_not_there_is_refused(
    script: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots = counting(tmp_path, script, monkeypatch)
    with pytest.raises(InputError, match=said):
        slots.start()
