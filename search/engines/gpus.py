"""What the driver of NVIDIA's GPUs says of them, asked through its program, without CUDA."""

from __future__ import annotations

import shutil
import subprocess

from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.engines.base import GpuMemory

PROGRAM = "nvidia-smi"
#: seconds that the program has to answer
WITHIN_S = 60.0
#: what to do about a driver that does not answer
ADVICE = "expected one that works; CUDA_VISIBLE_DEVICES=-1 leaves GPUs out, =0 takes the first one"


def ask(query: str, *more: str) -> list[str] | None:
    """The program's answer to a query, line by line; None if there is no driver.

    Raises:
        InputError: the program cannot be run, or does not answer in time.
    """
    file = shutil.which(PROGRAM)
    if not file:
        return None
    command = [file, f"--query-gpu={query}", ",".join(["--format=csv,noheader", *more])]
    try:
        asked = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=WITHIN_S,
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"{file} has not answered within {WITHIN_S:g} s, {ADVICE}") from None
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or error}, {ADVICE}") from None
    if asked.returncode != 0:  # as where there is a driver and no GPU
        return None
    return [line.strip() for line in asked.stdout.splitlines() if line.strip()]


def numbers() -> list[str]:
    """Numbers of all GPUs; none if there is no driver.

    Raises:
        InputError: the driver's program does not work.
    """
    lines = ask("index") or []
    if lines and lines[0].startswith("No devices"):
        return []
    for line in lines:
        if not (line.isascii() and line.isdecimal()):
            raise InputError(f"{PROGRAM} has answered {shown(line)}, {ADVICE}")
    return lines


def memory() -> dict[str, GpuMemory]:
    """Memory of each GPU by its number, and by its UUID; empty where the driver does not say."""
    try:
        lines = ask("index,uuid,memory.used,memory.total", "nounits")
    except InputError:
        return {}
    found = {}
    for line in lines or []:
        index, *others = (part.strip() for part in line.split(","))
        if len(others) == 3 and all(size.isdecimal() for size in others[1:]):
            found[index] = found[others[0]] = GpuMemory(*map(int, others[1:]))
    return found
