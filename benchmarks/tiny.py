"""What several benchmarks need: a small corpus, a fresh store, and the memory of this process."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lstm_sweep.models.data.source import Source
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tracking import MlflowStore


def words(folder: Path, count: int) -> Source:
    """A text of so many words that are drawn at random."""
    rng = np.random.default_rng(0)
    text = " ".join(rng.choice(["sun", "moon", "river", "stone", "and", "the"], count))
    (folder / "words.txt").write_text(text, encoding="utf-8")
    return Source(data=str(folder / "words.txt"))


def store_in(folder: Path) -> MlflowStore:
    """An SQLite store in a folder."""
    uri, artifacts = f"sqlite:///{folder / 'mlflow.db'}", (folder / "artifacts").as_uri()
    return MlflowStore(Settings(uri, artifacts, "benchmark", "benchmark"))


def resident_mb() -> float:
    """Resident memory of this process."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1000
    raise RuntimeError("this kernel does not say what memory is resident")


def descendants(pid: int) -> set[int]:
    """Processes that a process has begun, they theirs, and so on."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text(encoding="utf-8", errors="replace")
        except OSError:  # it has just ended
            continue
        parents[int(stat.parent.name)] = int(text.rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def with_environment(mark: str) -> list[int]:
    """Processes that have `NAME=value` in their environment, on Linux."""
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in file.read_bytes().split(b"\0"):
                found.append(int(file.parent.name))
        except OSError:  # it has ended, or is not ours
            continue
    return found
