"""What memory a benchmark has."""

from __future__ import annotations

from pathlib import Path


def resident_mb() -> float:
    """Resident memory of this process."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1000
    raise RuntimeError("this kernel does not say what memory is resident")
