"""How a contestant is run, and when it is ended."""

from __future__ import annotations

import math
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import contestants
from benchmarks.contestants import lowest_loss, run_alone
from lstm_sweep.search.store.tags import Tag

FOREVER = 3600.0
#: says which process it is, and goes on until it is ended
WAITS = "import os, time; os.symlink(str(os.getpid()), 'runs'); time.sleep(3600)"


def test_a_program_that_has_enough_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contestants, "LOOK_EVERY_S", 0.05)
    command = [sys.executable, "-c", WAITS]
    runs = tmp_path / "runs"
    code = run_alone(command, tmp_path, tmp_path / "log", time.time() + FOREVER, runs.is_symlink)
    assert code == 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(runs.readlink().name), 0)


@pytest.mark.parametrize("code", [0, 3])
def test_one_that_ends_by_itself_has_its_own_code(tmp_path: Path, code: int) -> None:
    command = [sys.executable, "-c", f"raise SystemExit({code})"]
    assert run_alone(command, tmp_path, tmp_path / "log", time.time() + FOREVER) == code


def test_a_store_that_is_not_there_or_is_being_made_has_no_loss_yet(tmp_path: Path) -> None:
    assert lowest_loss(tmp_path) == math.inf
    (tmp_path / contestants.STORE).write_bytes(b"half of it")
    assert lowest_loss(tmp_path) == math.inf


def test_the_lowest_loss_is_that_of_any_trial_and_of_no_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = [{"best_val_loss": 1.5}, {}, {"best_val_loss": 1.4, "val_loss": 1.6}]
    trials = [SimpleNamespace(metrics=metrics, tags={Tag.TRIAL: "1"}) for metrics in losses]
    baseline = SimpleNamespace(metrics={"best_val_loss": 1.2}, tags={})
    runs = [SimpleNamespace(data=data) for data in (*trials, baseline)]
    monkeypatch.setattr(contestants, "runs_in", lambda folder: runs)
    assert lowest_loss(tmp_path) == 1.4
