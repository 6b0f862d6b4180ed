from __future__ import annotations

import stat
from pathlib import Path

import pytest

from lstm_sweep.search.engines import gpus
from lstm_sweep.search.engines.base import GpuMemory


def nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, printed: str) -> None:
    """Put a program of this name, which prints a text, before all others."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{printed}\nEND\n", encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_memory_is_known_by_number_and_uuid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = "0, GPU-5a, 512, 81559\n1, GPU-7c, 0, 81559\n2, GPU-9e, [N/A], [N/A]"
    nvidia_smi(tmp_path, monkeypatch, rows)
    first, second = GpuMemory(512, 81_559), GpuMemory(0, 81_559)
    assert gpus.memory() == {"0": first, "GPU-5a": first, "1": second, "GPU-7c": second}


@pytest.mark.parametrize("printed", ["", "NVIDIA-SMI has failed", "No devices, were found"])
def test_nothing_is_known_of_gpus_that_the_driver_does_not_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str
) -> None:
    nvidia_smi(tmp_path, monkeypatch, printed)
    assert gpus.memory() == {}


def test_without_the_drivers_program_nothing_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus.memory() == {}
