"""A stand-in for NVML, the library of NVIDIA's driver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import pynvml
import pytest


@dataclass
class Gpu:
    """A GPU as NVML reports it; memory in MiB."""

    uuid: str
    total: int = 80_000
    #: what is read one after the other, the last from then on; None: it does not report its memory
    used: tuple[int | None, ...] = (0,)
    name: str = "NVIDIA H100"

    def read(self) -> int | None:
        """Memory in use, as it is read now."""
        now, *later = self.used
        self.used = tuple(later) or self.used
        return now


def replace_nvml(
    monkeypatch: pytest.MonkeyPatch, gpus: Callable[[], Sequence[Gpu]]
) -> Callable[[], int]:
    """Let NVML report what `gpus` returns, or raises, at each initialization.

    Returns how many times NVML is initialized and not shut down.
    """
    reported: list[Sequence[Gpu]] = []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def memory(gpu: Gpu) -> SimpleNamespace:
        used = gpu.read()
        if used is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return SimpleNamespace(used=used << 20, total=gpu.total << 20)

    for name, function in {
        "nvmlInit": lambda: reported.append(gpus()),
        "nvmlShutdown": lambda: reported.pop(),
        "nvmlDeviceGetCount": lambda: len(reported[-1]),
        "nvmlDeviceGetHandleByIndex": lambda index: reported[-1][index],
        "nvmlDeviceGetUUID": lambda gpu: gpu.uuid,
        "nvmlDeviceGetName": lambda gpu: gpu.name,
        "nvmlDeviceGetMemoryInfo": memory,
    }.items():
        monkeypatch.setattr(pynvml, name, function)
    return lambda: len(reported)
