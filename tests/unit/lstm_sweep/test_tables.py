"""What the Python API answers about trials: tables, and the best one."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import lstm_sweep as ls
from lstm_sweep import _tables
from lstm_sweep._sweep import Sweep
from lstm_sweep.models.config import FIELDS, TrialConfig
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.actions.sweeps import SweepTrials
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tags import Tags
from lstm_sweep.search.values.trial import Ended, Outcome

STORE = Settings("sqlite:////none/mlflow.db", None, "test", "test")
#: a row of `trials --json`
ROW: dict[str, Any] = {
    "trial": "docs/2", "run_id": "r", "status": "FINISHED", "outcome": "complete",
    "phase": "search", "attempt": 1, "val_loss": 1.5, "best_epoch": 2, "epochs": 3,
    "parameters": 10, "seed": 7, "config": TrialConfig(dropout=0.5).to_dict(),
}  # fmt: skip


# --- tables ---------------------------------------------------------------------------------------


def test_trials_are_a_row_each_and_fields_of_their_config_columns() -> None:
    failed = ROW | {"trial": "docs/3", "outcome": None, "val_loss": None, "best_epoch": None}
    table = _tables.trials([ROW, failed])
    assert table.index.tolist() == ["docs/2", "docs/3"] and table.index.name == "trial"
    assert [*table.columns] == [
        *(name for name in ROW if name not in ("trial", "config")),
        *(name if name != "epochs" else "config_epochs" for name in FIELDS),
    ]
    assert table.loc["docs/2", "epochs"] == 3
    assert table.loc["docs/2", "config_epochs"] == TrialConfig().epochs
    assert table["val_loss"].isna().tolist() == [False, True]
    types = {name: str(kind) for name, kind in table.dtypes.items()}
    assert types["best_epoch"] == types["layers"] == "Int64"
    assert types["val_loss"] == types["dropout"] == "Float64"
    assert types["outcome"] == types["direction"] == "string"


@pytest.mark.parametrize(
    "values, kind",
    [
        ([1, None], "Int64"),
        ([1, 0.5], "Float64"),
        ([True, False], "boolean"),
        (["adam", None], "string"),
        ([1, "adam"], "object"),
        ([None], "object"),
    ],
)
def test_hyperparameters_of_a_template_have_types_of_their_own(
    values: list[object], kind: str
) -> None:
    table = _tables.trials([ROW | {"config": {"units:3": value}} for value in values])
    assert str(table["units:3"].dtype) == kind
    assert [None if pd.isna(one) else one for one in table["units:3"]] == values


def test_a_curve_is_numbers_by_epoch() -> None:
    epochs: list[dict[str, Any]] = [{"epoch": 1, "val_loss": 2.0}, {"epoch": 2, "val_loss": None}]
    curve = _tables.curve(epochs, ["val_loss"])
    assert curve.index.tolist() == [1, 2] and curve.index.name == "epoch"
    np.testing.assert_equal(curve["val_loss"].to_numpy(), [2.0, np.nan])
    nothing = _tables.curve([], ["train_loss", "val_loss"])
    assert [*nothing.columns] == ["train_loss", "val_loss"] and len(nothing) == 0


# --- questions ------------------------------------------------------------------------------------


def record(loss: float | None) -> TrialRecord:
    """A trial of sweep `docs` as it is read from the store."""
    ended = Ended(Outcome.ERROR if loss is None else Outcome.COMPLETE)
    return TrialRecord(
        sweep="docs",
        number=2,
        config=TrialConfig(),
        seed=0,
        run_id="run",
        ended=ended,
        logged_loss=loss,
        tags=Tags.of("run", {}),
    )


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sweep]:
    """Makes sweeps in which these trials are found, and nothing else."""

    def make(*records: TrialRecord, left_out: tuple[str, ...] = ()) -> Sweep:
        listing = SweepTrials(records, left_out, baselines={"unigram": 3.0})
        monkeypatch.setattr(Local, "trials", lambda self, name, top=None: listing)
        status = SimpleNamespace(state="failed", why="10 trials in a row have failed")
        monkeypatch.setattr(Local, "status", lambda self, name: status)
        return Sweep("docs", Local(STORE))

    return make


def test_the_best_trial_is_the_first_with_a_loss(listed: Callable[..., Sweep]) -> None:
    best = listed(record(1.0)).best
    assert (best.id, best.number, best.val_loss, best.phase) == ("docs/2", 2, 1.0, "search")
    assert best.bits_per_symbol == pytest.approx(1.4427, abs=1e-4)
    assert best.config == TrialConfig().to_dict()
    assert repr(best) == "<Trial docs/2: complete, val_loss 1.0000>"


@pytest.mark.parametrize("records", [[], [record(None)]])
def test_without_a_result_there_is_no_best_trial(
    listed: Callable[..., Sweep], records: list[TrialRecord]
) -> None:
    with pytest.raises(ls.InputError, match=r"no trial with a result.*failed \(10 trials in a row"):
        _ = listed(*records).best


def test_of_runs_that_cannot_be_read_there_is_a_warning(listed: Callable[..., Sweep]) -> None:
    with pytest.warns(UserWarning, match="left out: run x is damaged") as caught:
        table = listed(record(1.0), left_out=("run x is damaged",)).trials()
    assert len(table) == 1
    assert caught[0].filename == __file__
