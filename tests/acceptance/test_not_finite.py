"""Templates whose losses are no numbers, and reruns that come out otherwise, by the program."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Done, run_here

pytestmark = pytest.mark.full

FEW = ["--confirm-configs", "0", "--workers", "1", "--halving", "off"]
#: of three epochs the second has a validation loss that is none; a file beside ends it earlier
TEMPLATE = """
from pathlib import Path
import keras
import numpy as np

HERE = Path({folder!r})

def data():
    return np.ones((20, 2)), np.ones(20)

def create_model(x, y):
    width = {{{{choice([1, 2, 3])}}}}
    shape = {{{{choice(['[a, b]', '[red]'])}}}}
    keras.utils.set_random_seed(width)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile('sgd', 'mse')

    def tell(epoch, logs):
        if epoch == 1:
            logs['val_loss'] = np.nan
            logs['val_text'] = 'none'
        logs['acc@5'] = np.inf
        if epoch == 1 and (HERE / 'shorter').exists():
            model.stop_training = True
        if epoch == 1 and (HERE / 'fails').exists():
            raise RuntimeError('no')

    told = keras.callbacks.LambdaCallback(on_epoch_end=tell)
    model.fit(x, y, epochs=3, validation_data=(x, y), callbacks=[told], verbose=0)
    return {{'loss': width + model.evaluate(x, y, verbose=0), 'model': model}}
"""


@pytest.fixture(scope="module")
def folder(workplace: Callable[[str], Path]) -> Path:
    """A folder with a sweep of such a template that was resumed."""
    made = workplace("not_finite")
    (made / "mine.py").write_text(TEMPLATE.format(folder=str(made)), encoding="utf-8")
    command = ["launch", "--template", "mine.py", "--name", "s", "--trials", "2", "--json", *FEW]
    first = run_here(*command, cwd=made)
    assert (first.code, strictly(first)["state"]) == (0, "finished"), first.err
    assert "pictures" not in first.err
    again = run_here("resume", "s", "--trials", "3", "--json", cwd=made)
    assert (again.code, strictly(again)["trials"]) == (0, {"complete": 3}), again.err
    return made


def strictly(done: Done) -> Any:
    """What a command printed; NaN and Infinity are no JSON."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(done.out, parse_constant=refuse)


def test_the_sweep_is_closed_and_its_evidence_kept(folder: Path) -> None:
    [sweep] = strictly(run_here("sweeps", "--json", cwd=folder))
    assert (sweep["state"], sweep["trials_done"]) == ("finished", 3)
    rows = strictly(run_here("trials", "s", "--json", cwd=folder))
    assert [row["best_epoch"] for row in rows] == [3, 3, 3]
    assert sweep["best_val_loss"] == rows[0]["val_loss"] == min(row["val_loss"] for row in rows)
    kept = {path.name for path in (folder / "mlartifacts").rglob("*")}
    assert {"evidence.json", "report.html"} <= kept


def test_what_is_no_number_is_null_and_text_stands_as_it_is(folder: Path) -> None:
    shown = strictly(run_here("show", "s/0", "--json", cwd=folder))["by_epoch"]
    assert [epoch["epoch"] for epoch in shown] == [1, 2, 3]
    assert [epoch["val_loss"] is None for epoch in shown] == [False, True, False]
    assert [epoch["train_acc_5"] for epoch in shown] == [None] * 3
    table = run_here("show", "s/0", cwd=folder).out
    assert "inf" in table and "nan" in table and "17976931348623157" not in table
    rows = strictly(run_here("trials", "s", "--json", cwd=folder))
    values = {row["config"]["shape:13"] for row in rows}
    assert values <= {"'[a, b]'", "'[red]'"}
    listed = run_here("trials", "s", cwd=folder).out
    assert all(f"shape (line 13) {value}" in listed for value in values)


def test_it_reruns_identically(folder: Path) -> None:
    done = run_here("rerun", "s/0", "--json", cwd=folder)
    found = strictly(done)
    assert (done.code, found["verdict"], found["max_difference"]) == (0, "identical", 0), found


@pytest.mark.parametrize(
    "event, epochs, outcome, metric",
    [("shorter", 2, "complete", "epochs"), ("fails", 1, "error", "epochs")],
)
def test_a_rerun_that_comes_out_otherwise_is_valid_json_and_exit_code_3(
    event: str, epochs: int, outcome: str, metric: str, folder: Path
) -> None:
    (folder / event).touch()
    try:
        done = run_here("rerun", "s/0", "--json", cwd=folder)
    finally:
        (folder / event).unlink()
    found = strictly(done)
    assert (done.code, found["verdict"], found["outcome"]) == (3, "different", outcome), done.err
    assert found["epochs_compared"] == epochs
    assert found["first_difference"]["metric"] == metric
    if outcome == "error":  # there is no result to compare with
        assert found["max_difference"] is None
    again = strictly(run_here("show", found["rerun_run_id"], "--json", cwd=folder))
    assert (again["outcome"], len(again["by_epoch"])) == (outcome, epochs)
