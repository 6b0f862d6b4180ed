"""GPUs as NVIDIA's driver reports them through NVML, which does not load CUDA."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from lstm_sweep.models.errors import InputError

Answer = TypeVar("Answer")

#: seconds that the driver has to answer
WITHIN_S = 60.0
#: what to do about a driver that does not answer
ADVICE = "expected one that works; CUDA_VISIBLE_DEVICES=-1 leaves GPUs out, =0 takes the first one"


def indices() -> list[str]:
    """Indices of all GPUs, as CUDA_VISIBLE_DEVICES takes them; none if there is no driver.

    Raises:
        InputError: the driver does not work.
    """
    return _ask(lambda nvml: list(map(str, range(nvml.nvmlDeviceGetCount())))) or []


@functools.cache
def names() -> dict[str, str]:
    """What each card is called, by index and by UUID; empty if the driver fails."""
    with contextlib.suppress(InputError):
        return _ask(_names) or {}
    return {}


def _names(nvml: Any) -> dict[str, str]:
    found = {}
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        found[str(index)] = found[nvml.nvmlDeviceGetUUID(handle)] = nvml.nvmlDeviceGetName(handle)
    return found


def _ask(question: Callable[[Any], Answer]) -> Answer | None:
    """The answer to a question, which is given the module `pynvml`; None if there is no driver.

    A call to a driver that hangs cannot be cancelled, so it is left behind in a thread.

    Raises:
        InputError: the driver reports an error, or does not answer in time.
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
