"""What the processors and the memory of this machine are."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
from pathlib import Path

from lstm_sweep.search.device import Device

CPU_INFO = Path("/proc/cpuinfo")


def describe(*, gpu: bool) -> Device:
    """The device of a slot of this machine, which has a GPU or a CPU core."""
    return Device(
        kind="gpu" if gpu else f"cpu: {cpu_model()}",
        gpu=gpu,
        cpu_flags=cpu_flags(),
        cores=len(cores()),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    )


def cores() -> list[int]:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@functools.cache
def cpu_model() -> str:
    """The CPU's name, or its architecture where the system does not say more."""
    return _first("model name") or platform.machine()


@functools.cache
def cpu_flags() -> frozenset[str]:
    """Names of the CPU's instruction sets; none where the system does not say."""
    return frozenset(_first("flags").split())


def _first(name: str) -> str:
    """What the system reports of the first core; empty if nothing."""
    with contextlib.suppress(OSError):
        for line in CPU_INFO.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    return ""
