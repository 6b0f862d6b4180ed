from __future__ import annotations

import stat
from pathlib import Path

import pytest

from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.sweep import gpu_sharing
from lstm_sweep.search.sweep.gpu_sharing import Memory, fitting, largest
from lstm_sweep.spaces.space import from_mapping


def nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, printed: str) -> None:
    """Put a program of this name, which prints a text, before all others."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{printed}\nEND\n", encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.mark.parametrize(
    ("needed", "free", "cores", "count"),
    [
        (8_000, 79_500, 16, 8),
        (8_000, 79_500, 4, 4),
        (8_000, 39_500, 16, 4),
        (70_000, 79_500, 16, 1),
        (78_500, 79_500, 16, 1),
    ],
)
def test_as_many_fit_as_memory_and_cores_hold(
    needed: int, free: int, cores: int, count: int
) -> None:
    assert fitting(needed, free, cores) == count


def test_the_largest_network_that_is_admitted_is_measured() -> None:
    given = {
        "layer_size": [32, 64, 512], "layers": [2, 3], "direction": ["uni", "bi"],
        "batch_size": [16, 128], "sequence_length": [20, 40],
    }  # fmt: skip
    spec = SweepSpec(space=from_mapping(given, "test"))
    config = largest(spec, 50, lambda config: True)
    assert (config.direction, config.layers, config.layer_size) == ("bi", 3, 512)
    assert (config.batch_size, config.sequence_length) == (128, 40)
    small = largest(spec, 50, lambda config: config.layer_size < 500)
    assert (small.direction, small.layers, small.layer_size) == ("bi", 3, 64)


def test_logits_of_many_symbols_count_which_a_unidirectional_network_has_at_each_step() -> None:
    spec = SweepSpec(space=from_mapping({"layer_size": [64], "direction": ["uni", "bi"]}, "test"))
    assert largest(spec, 50, lambda config: True).direction == "bi"
    assert largest(spec, 3_000, lambda config: True).direction == "uni"


def test_memory_is_known_by_number_and_uuid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = "0, GPU-5a, 512, 81559\n1, GPU-7c, 0, 81559\n2, GPU-9e, [N/A], [N/A]"
    nvidia_smi(tmp_path, monkeypatch, rows)
    first, second = Memory(512, 81_559), Memory(0, 81_559)
    assert gpu_sharing.read_memory() == {"0": first, "GPU-5a": first, "1": second, "GPU-7c": second}


@pytest.mark.parametrize("printed", ["", "NVIDIA-SMI has failed", "No devices, were found"])
def test_nothing_is_known_of_gpus_that_the_driver_does_not_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str
) -> None:
    nvidia_smi(tmp_path, monkeypatch, printed)
    assert gpu_sharing.read_memory() == {}


def test_without_the_drivers_program_nothing_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_sharing.read_memory() == {}
