"""A driver that hangs or fails is reported in one line."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pynvml
import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.engines import hardware
from lstm_sweep.search.engines.hardware import find_gpus
from tests.nvml import Gpu, replace_nvml


def fails(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Let NVML not start, with an error code of its own."""

    def fail() -> Sequence[Gpu]:
        raise pynvml.NVMLError(code)

    replace_nvml(monkeypatch, fail)


def test_the_gpus_of_this_machine_are_those_that_its_driver_lists(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """None where there is no driver; NVML is the real one."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    listed = len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    assert find_gpus() == [str(index) for index in range(listed)]
    assert len(hardware.gpu_names()) == 2 * listed, "each by its index and by its UUID"


@pytest.mark.parametrize("count", [0, 1, 3])
def test_gpus_are_those_that_the_driver_counts(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = replace_nvml(monkeypatch, lambda: [Gpu(f"GPU-{n}") for n in range(count)])
    assert find_gpus() == [str(index) for index in range(count)]
    assert opened() == 0


def check_error(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finding GPUs is one line with an advice, which is true."""
    with pytest.raises(InputError) as caught:
        find_gpus()
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "CUDA_VISIBLE_DEVICES=-1 leaves GPUs out" in str(caught.value)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert find_gpus() == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0, GPU-5a")
    assert find_gpus() == ["0", "GPU-5a"]


@pytest.mark.parametrize(
    "code, why",
    [
        (pynvml.NVML_ERROR_NO_PERMISSION, "reports 'Insufficient Permissions', expected one"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "reports 'RM has detected an NVML/RM version"),
        (pynvml.NVML_ERROR_UNKNOWN, "reports 'Unknown Error', expected one that works"),
    ],
)
def test_a_driver_that_fails_is_one_line(
    code: int, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(monkeypatch, code)
    check_error(why, monkeypatch)


def test_a_driver_that_hangs_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def hang() -> Sequence[Gpu]:
        over.wait()
        return []

    replace_nvml(monkeypatch, hang)
    monkeypatch.setattr(hardware, "WITHIN_S", 0.2)
    try:
        check_error("has not answered within 0.2 s, expected one that works", monkeypatch)
    finally:
        over.set()
