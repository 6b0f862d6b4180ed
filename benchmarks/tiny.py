"""What several benchmarks need: a small corpus, a fresh store, and the memory of this process."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import psutil

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
    return float(psutil.Process().memory_info().rss) / 1e6


def with_environment(name: str, value: str) -> list[int]:
    """Processes that have a variable of this value in their environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):  # it has ended, or is not ours
            if process.environ().get(name) == value:
                found.append(process.pid)
    return found
