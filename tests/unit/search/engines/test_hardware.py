from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lstm_sweep.search.engines import hardware


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


def test_a_cpu_is_described_by_its_name_and_its_instructions(
    cpu_info: Callable[[str], None],
) -> None:
    one = "model name\t: A CPU: 2 GHz\nflags\t\t: avx2 amx_bf16\n\n"
    cpu_info(f"processor\t: 0\n{one}processor\t: 1\n{one}")
    found = hardware.describe(gpu=False)
    assert (found.kind, found.gpu, found.node) == ("cpu: A CPU: 2 GHz", False, None)
    assert found.cpu_flags == {"avx2", "amx_bf16"}
    assert found.cores == len(hardware.cores()) >= 1
    assert found.memory and found.memory > 1 << 26


def test_a_gpu_is_called_one(cpu_info: Callable[[str], None]) -> None:
    cpu_info("flags: avx2\n")
    found = hardware.describe(gpu=True)
    assert (found.kind, found.gpu, found.cpu_flags) == ("gpu", True, frozenset({"avx2"}))


def test_where_the_system_does_not_say_the_architecture_is_known(
    cpu_info: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    found = hardware.describe(gpu=False)
    assert (found.kind, found.cpu_flags) == ("cpu: riscv64", frozenset())
