"""What a slot computes on: the CPU cores of this machine, and its GPUs as NVML reports them."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.values.trial import Device

Answer = TypeVar("Answer")

#: seconds that the driver has to answer
WITHIN_S = 60.0
#: what to do about a driver that does not answer
ADVICE = "expected one that works; CUDA_VISIBLE_DEVICES=-1 leaves GPUs out, =0 takes the first one"


def find_gpus() -> list[str]:
    """NVIDIA GPUs that this process may use, by number or UUID, without loading CUDA."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        named = [part.strip() for part in visible.split(",")]
        return [name for name in named if name and name != "-1"]
    return _ask(lambda nvml: list(map(str, range(nvml.nvmlDeviceGetCount())))) or []


@functools.cache
def gpu_names() -> dict[str, str]:
    """What each card is called, by index and by UUID; empty if the driver fails."""

    def names(nvml: Any) -> dict[str, str]:
        found = {}
        for index in range(nvml.nvmlDeviceGetCount()):
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            name = nvml.nvmlDeviceGetName(handle)
            found[str(index)] = found[nvml.nvmlDeviceGetUUID(handle)] = name
        return found

    with contextlib.suppress(InputError):
        return _ask(names) or {}
    return {}


def _ask(question: Callable[[Any], Answer]) -> Answer | None:
    """The answer to a question, which is given the module `pynvml`; None if there is no driver.

    A call to a driver that hangs cannot be cancelled, so it is left behind in a thread.
    """
    import pynvml  # 0.1 s, which commands without GPUs need not wait

    answer: Future[Answer] = Future()

    def ask() -> None:
        try:
            pynvml.nvmlInit()
            try:
                found = question(pynvml)
            finally:
                pynvml.nvmlShutdown()
        except BaseException as error:
            answer.set_exception(error)
        else:
            answer.set_result(found)

    threading.Thread(target=ask, name="NVML", daemon=True).start()
    try:
        return answer.result(WITHIN_S)
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return None
    except pynvml.NVMLError as error:
        raise InputError(f"the driver of NVIDIA GPUs reports '{error}', {ADVICE}") from None
    except TimeoutError:
        raise InputError(
            f"the driver of NVIDIA GPUs has not answered within {WITHIN_S:g} s, {ADVICE}"
        ) from None


CPU_INFO = Path("/proc/cpuinfo")
#: to which control groups this process belongs, and where they are
OWN_GROUPS, GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def describe(gpu: str | None) -> Device:
    """A GPU by its number or UUID, by its name; or a core of the CPU."""
    name = "" if gpu is None else gpu_names().get(gpu)
    return Device(
        kind=f"cpu: {cpu_model()}" if gpu is None else f"gpu: {name}" if name else "gpu",
        gpu=gpu is not None,
        cpu_flags=cpu_flags(),
        cores=len(cores()),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    )


def cores() -> list[int]:
    """CPU cores that this process may use, and has the time for: see `cpu_limit`."""
    found, limit = all_cores(), cpu_limit()
    return found if limit is None else found[: max(1, int(limit))]


def pins() -> bool:
    """Whether a trial is to stay on its core.

    Not where time is limited and cores are not, as in containers: others count from 0, too.
    """
    limit = cpu_limit()
    return hasattr(os, "sched_setaffinity") and (limit is None or limit >= len(all_cores()))


def cpu_limit() -> float | None:
    """How many CPUs' time the control groups of this process may use; None if there is no limit.

    Such as `docker run --cpus 4` and Kubernetes set them (cgroups(7)), in either version.
    """
    limits = []
    with contextlib.suppress(OSError):
        for line in OWN_GROUPS.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            for root in (GROUPS, GROUPS / "unified", GROUPS / controllers):
                own = root / path.lstrip("/")
                above = (folder for folder in own.parents if folder.is_relative_to(root))
                limits += [limit for folder in (own, *above) for limit in _limits(folder)]
    return min(limits, default=None)


def _limits(group: Path) -> Iterator[float]:
    with contextlib.suppress(OSError, ValueError):  # "max" is no number
        quota, period = (group / "cpu.max").read_text(encoding="utf-8").split()
        yield float(quota) / float(period)
    with contextlib.suppress(OSError):
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        microseconds, of = (float((group / name).read_text(encoding="utf-8")) for name in names)
        if microseconds > 0:
            yield microseconds / of


def all_cores() -> list[int]:
    """CPU cores that this process may use, whatever time it has there."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@functools.cache
def cpu_model() -> str:
    return _first("model name") or platform.machine()


@functools.cache
def cpu_flags() -> frozenset[str]:
    return frozenset(_first("flags").split())


def _first(name: str) -> str:
    with contextlib.suppress(OSError):
        for line in CPU_INFO.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    return ""
