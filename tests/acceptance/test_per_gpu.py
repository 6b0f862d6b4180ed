"""`--per-gpu auto`, with a stand-in for the driver.

There is no GPU, so workers compute on the CPU; the stand-in says what a driver would of memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import TINY, run_here, write_text
from tests.nvml import Gpu, replace_nvml


@pytest.fixture
def folder(workplace: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")  # which would leave no GPU
    folder = workplace("gpus")
    write_text(folder / "words.txt")
    return folder


def launched(folder: Path, monkeypatch: pytest.MonkeyPatch, then: int | None, *more: str) -> str:
    """What `launch` says with two GPUs, of which the first uses `then` MiB while a trial runs."""
    gpus = [Gpu("GPU-a", used=(1_000, then)), Gpu("GPU-b", used=(3_000,))]
    replace_nvml(monkeypatch, lambda: gpus)
    done = run_here(
        "launch", "--data", "words.txt", *TINY, "--trials", "2", "--per-gpu", "auto",
        "--ladder", "off", "--confirm-configs", "0", *more, cwd=folder,
    )  # fmt: skip
    assert done.code == 0, done.err
    return " ".join(done.err.split())


@pytest.mark.full
def test_as_many_trials_share_a_gpu_as_its_memory_holds(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(12)))
    out = launched(folder, monkeypatch, 9_000)
    # 90 % of 77,000 MiB hold 8 trials, but 12 cores for 2 GPUs no more than 6
    assert (
        "--per-gpu auto: the largest network (bi 2x12, batch 32) takes 8,000 of 77,000 MiB free: "
        "6 at once on a GPU"
    ) in out
    assert "2 trials on 12 slots, " in out
    assert run_here("trials", "words-1", "--json", cwd=folder).json[1]["outcome"] == "complete"


@pytest.mark.full
def test_a_driver_that_does_not_say_leaves_it_at_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = launched(folder, monkeypatch, None, "--minutes", "5")
    assert "the largest network (bi 2x12, batch 32) could not be measured: 1 trial" in out
    assert "2 trials or 5 minutes on 2 slots" in out
