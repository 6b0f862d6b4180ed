from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_sweep.models.network.checkpoint import Checkpoint, CheckpointSettings, load

EPOCHS = [{"val_loss": 0.1 + 0.2, "round_seconds": 1.5}, {"val_loss": 1e-300}]
STATE: list[Any] = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.array(7, np.int64),
    np.ones(2, np.uint32),
]
BEST: list[Any] = [np.full((3, 1), np.float32(np.pi))]


def saved(folder: Path) -> Path:
    file = folder / "checkpoint.npz"
    Checkpoint(EPOCHS, STATE, BEST).save(file, "trial 1")
    return file


@pytest.mark.parametrize(
    ("every_s", "took", "due"),
    [(5.0, 0.0, 1.0), (5.0, 0.04, 2.0), (5.0, 0.2, 5.0), (5.0, 3.0, 60.0), (0.0, 3.0, 0.0)],
)
def test_a_checkpoint_is_due_once_writing_it_takes_a_small_share_of_the_time(
    every_s: float, took: float, due: float
) -> None:
    assert CheckpointSettings(Path("c.npz"), every_s).due_after(took) == due


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    found = load(saved(tmp_path), "trial 1")
    assert found
    assert found.rounds == EPOCHS
    for before, after in zip([*STATE, *BEST], [*found.state, *found.best], strict=True):
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(before, after)


def test_more_than_ten_arrays_keep_their_order(tmp_path: Path) -> None:
    arrays: list[Any] = [np.array(number) for number in range(25)]
    Checkpoint([], arrays, []).save(tmp_path / "c.npz", "t")
    found = load(tmp_path / "c.npz", "t")
    assert found and [int(array) for array in found.state] == list(range(25))


def test_only_its_own_training_reads_a_checkpoint(tmp_path: Path) -> None:
    assert load(saved(tmp_path), "trial 2") is None


def test_a_file_cut_off_anywhere_counts_as_none(tmp_path: Path) -> None:
    file = saved(tmp_path)
    whole = file.read_bytes()
    for length in range(0, len(whole), 7):
        file.write_bytes(whole[:length])
        assert load(file, "trial 1") is None


def test_a_file_that_would_run_code_is_not_read(tmp_path: Path) -> None:
    about = np.frombuffer(json.dumps({"identity": "t", "rounds": []}).encode(), np.uint8)
    objects = np.array([{"any": "object"}], dtype=object)
    np.savez(tmp_path / "c.npz", allow_pickle=True, about=about, state0=objects)
    assert load(tmp_path / "c.npz", "t") is None
