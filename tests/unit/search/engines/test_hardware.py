from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lstm_sweep.search.engines import hardware
from tests.nvml import Gpu, replace_nvml


@pytest.fixture
def cpu_info(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """What has the system say this of its CPU."""
    file = tmp_path / "cpuinfo"
    monkeypatch.setattr(hardware, "CPU_INFO", file)
    _forget()

    def say(text: str) -> None:
        file.write_text(text, encoding="utf-8")

    yield say
    _forget()


def _forget() -> None:
    hardware.cpu_model.cache_clear()
    hardware.cpu_flags.cache_clear()
    hardware.gpu_names.cache_clear()


def test_a_cpu_is_described_by_its_name_and_its_instructions(
    cpu_info: Callable[[str], None],
) -> None:
    one = "model name\t: A CPU: 2 GHz\nflags\t\t: avx2 amx_bf16\n\n"
    cpu_info(f"processor\t: 0\n{one}processor\t: 1\n{one}")
    found = hardware.describe(None)
    assert (found.kind, found.gpu, found.node) == ("cpu: A CPU: 2 GHz", False, None)
    assert found.cpu_flags == {"avx2", "amx_bf16"}
    assert found.cores == len(hardware.cores()) >= 1
    assert found.memory and found.memory > 1 << 26


def test_a_gpu_is_called_by_the_name_of_its_card(
    cpu_info: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu_info("flags: avx2\n")
    cards = [Gpu("GPU-5a", name="NVIDIA H100"), Gpu("GPU-7c", name="NVIDIA T4")]
    replace_nvml(monkeypatch, lambda: cards)
    kinds = {gpu: hardware.describe(gpu).kind for gpu in ("0", "1", "GPU-7c", "MIG-1")}
    t4 = "gpu: NVIDIA T4"
    assert kinds == {"0": "gpu: NVIDIA H100", "1": t4, "GPU-7c": t4, "MIG-1": "gpu"}
    found = hardware.describe("0")
    assert (found.gpu, found.cpu_flags) == (True, frozenset({"avx2"}))


@pytest.mark.parametrize(
    "own, files, limit",
    [
        ("0::/\n", {"cpu.max": "400000 100000\n"}, 4.0),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "150000 100000"}, 1.5),
        ("0::/a/b\n", {"a/b/cpu.max": "50000 100000", "a/cpu.max": "150000 100000"}, 0.5),
        ("0::/host/path\n", {"cpu.max": "300000 100000"}, 3.0),
        ("1:name=systemd:/\n0::/a\n", {"unified/a/cpu.max": "200000 100000"}, 2.0),
        (
            "3:cpu,cpuacct:/docker/1\n0::/\n",
            {
                "cpu,cpuacct/cpu.cfs_quota_us": "250000\n",
                "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            2.5,
        ),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ("", {}, None),
    ],
)  # fmt: skip
def test_the_time_of_control_groups_limits_how_many_cores_are_used_and_pins_none(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    own: str,
    files: dict[str, str],
    limit: float | None,
) -> None:
    monkeypatch.setattr(hardware, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(hardware, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {5, 2, 3, 4})
    (tmp_path / "own").write_text(own, encoding="utf-8")
    for name, text in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(text, encoding="utf-8")
    assert hardware.cpu_limit() == limit
    assert hardware.cores() == [2, 3, 4, 5][: 4 if limit is None else max(1, int(limit))]
    assert hardware.pins() == (limit in (None, 4.0))
