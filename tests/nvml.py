"""A stand-in for NVML, the library of NVIDIA's driver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pynvml
import pytest


@dataclass
class Gpu:
    """A GPU as NVML reports it."""

    uuid: str
    name: str = "NVIDIA H100"


def replace_nvml(
    monkeypatch: pytest.MonkeyPatch, gpus: Callable[[], Sequence[Gpu]]
) -> Callable[[], int]:
    """Let NVML report what `gpus` returns, or raises, at each initialization.

    Returns how many times NVML is initialized and not shut down.
    """
    reported: list[Sequence[Gpu]] = []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    for name, function in {
        "nvmlInit": lambda: reported.append(gpus()),
        "nvmlShutdown": lambda: reported.pop(),
        "nvmlDeviceGetCount": lambda: len(reported[-1]),
        "nvmlDeviceGetHandleByIndex": lambda index: reported[-1][index],
        "nvmlDeviceGetUUID": lambda gpu: gpu.uuid,
        "nvmlDeviceGetName": lambda gpu: gpu.name,
    }.items():
        monkeypatch.setattr(pynvml, name, function)
    return lambda: len(reported)
