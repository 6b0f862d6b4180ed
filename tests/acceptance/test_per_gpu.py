"""`--per-gpu auto`, with a stand-in for the driver's program.

There is no GPU, so workers compute on the CPU; the program says what it would of memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import TINY, run_here, write_text

#: two GPUs; the first question about memory finds the first unused, later ones do not
DRIVER = """#!/bin/sh
case "$*" in *memory*) ;; *) printf '0\\n1\\n'; exit ;; esac
used=1000
test -e {asked} && used={then}
touch {asked}
echo "0, GPU-a, $used, 80000"
echo "1, GPU-b, 3000, 80000"
"""


@pytest.fixture
def folder(workplace: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")  # which would leave no GPU
    folder = workplace("gpus")
    write_text(folder / "words.txt")
    return folder


def launched(folder: Path, then: str, *more: str) -> str:
    """What `launch` prints where the driver's program says that `then` MiB are used later."""
    program = folder / "nvidia-smi"
    program.write_text(DRIVER.format(asked=folder / "asked", then=then), encoding="utf-8")
    program.chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    done = run_here(
        "launch", "--data", "words.txt", *TINY, "--trials", "2", "--per-gpu", "auto",
        "--ladder", "off", "--confirm-configs", "0", *more, cwd=folder, PATH=path,
    )  # fmt: skip
    assert done.code == 0, done.err
    return " ".join(done.out.split())


def test_as_many_trials_share_a_gpu_as_its_memory_holds(folder: Path) -> None:
    cores = len(os.sched_getaffinity(0))
    out = launched(folder, "9000")
    count = max(1, min(8, cores // 2))  # 90 % of 77,000 MiB by 8,000
    assert (
        "--per-gpu auto: the largest network (bi 2x12, batch 32) takes 8,000 of 77,000 MiB free: "
        f"{count} at once on a GPU"
    ) in out
    assert f"up to 2 trials, {2 * count} at once" in out
    assert run_here("trials", "words-1", "--json", cwd=folder).json[1]["outcome"] == "complete"


def test_a_driver_that_does_not_say_leaves_it_at_one(folder: Path) -> None:
    out = launched(folder, "unknown", "--minutes", "5")
    assert "the largest network (bi 2x12, batch 32) could not be measured: 1 trial" in out
    assert "up to 2 trials or 5 minutes, 2 at once" in out
