"""A sweep whose epochs have several rounds, through the real program."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from lstm_sweep.search.store import reader
from lstm_sweep.search.store.settings import load
from lstm_sweep.search.store.tracking import MlflowStore
from tests.conftest import (
    TINY,
    processes_of_group,
    run_here,
    start_program,
    wait_until,
    write_text,
)

ROUNDS, EPOCHS = 5, 6


@pytest.fixture(scope="module")
def place(workplace: Callable[[str], Path]) -> Path:
    """A folder with a sweep that was ended within an epoch and has gone on."""
    folder = workplace("rounds")
    write_text(folder / "words.txt", 40_000)
    store = MlflowStore(load(folder, {}))
    process = start_program(
        *("launch", "--data", "words.txt", "--name", "s", "--json", "--workers", "1", *TINY),
        *("--trials", "2", "--confirm-configs", "0", "--ladder", "off"),
        *("--rounds-per-epoch", str(ROUNDS), "--epochs", str(EPOCHS)),
        cwd=folder,
    )
    try:
        wait_until(
            lambda: any(0 < record.epochs < EPOCHS for record in reader.trials(store, "s")),
            process,
        )
        os.killpg(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGINT
        assert json.loads(out)["state"] == "interrupted"
        assert processes_of_group(process.pid) == []
    finally:
        process.kill()
        process.wait()
    rows = run_here("trials", "s", "--json", cwd=folder).json
    assert {(row["status"], row["outcome"]) for row in rows} <= {
        ("FINISHED", "stopped"),
        ("KILLED", "stopped"),
        ("FINISHED", "complete"),
    }
    assert any(row["val_loss"] is not None for row in rows)
    resumed = run_here("resume", "s", "--json", cwd=folder)
    assert resumed.code == 0, resumed.err
    assert resumed.json["trials"] == {"complete": 2}
    return folder


def test_trials_are_listed_with_their_epochs(place: Path) -> None:
    for row in run_here("trials", "s", "--json", cwd=place).json:
        assert (row["epochs"], row["rounds_per_epoch"]) == (EPOCHS, ROUNDS)
        assert (row["best_epoch"] * ROUNDS) == pytest.approx(round(row["best_epoch"] * ROUNDS))


def test_a_trial_is_shown_round_by_round(place: Path) -> None:
    shown = run_here("show", "s/0", "--json", cwd=place).json
    epochs = [row["epoch"] for row in shown["by_epoch"]]
    assert epochs == [number / ROUNDS for number in range(1, ROUNDS * EPOCHS + 1)]
    table = run_here("show", "s/0", cwd=place).out
    assert f"{shown['best_epoch']:.2f}".rstrip("0").rstrip(".") + f"/{EPOCHS}" in table
    assert "│ 0.2 " in table and "│ 5.8 " in table


def test_a_run_in_mlflow_counts_in_rounds_with_the_epochs_and_symbols_that_are_trained(
    place: Path,
) -> None:
    store = MlflowStore(load(place, {}))
    for record in reader.trials(store, "s"):
        epochs = store.history(record.run_id, "epoch")
        symbols = store.history(record.run_id, "symbols_seen")
        assert epochs == {step: step / ROUNDS for step in range(1, ROUNDS * EPOCHS + 1)}
        assert [*symbols] == [*epochs] and symbols[1] > 0
        ends = [symbols[ROUNDS * epoch] for epoch in range(1, EPOCHS + 1)]
        assert ends == [epoch * ends[0] for epoch in range(1, EPOCHS + 1)]
        assert sorted(set(symbols.values())) == [*symbols.values()]


def test_a_trial_that_was_broken_off_reruns_identically(place: Path) -> None:
    rerun = run_here("rerun", "s/0", "--json", cwd=place)
    assert rerun.code == 0, rerun.err
    assert (rerun.json["verdict"], rerun.json["epochs_compared"]) == ("identical", EPOCHS)
    assert rerun.json["max_difference"] == 0


def test_more_rounds_than_steps_are_refused_in_one_line(place: Path) -> None:
    refused = run_here("launch", "--data", "words.txt", "--rounds-per-epoch", "9999", cwd=place)
    assert (refused.code, refused.out) == (2, "")
    assert "rounds_per_epoch is 9999: expected at most" in refused.err.splitlines()[-1]
