"""The Python API without stores and workers: names, arguments, tables, progress."""

from __future__ import annotations

import _thread
import ast
import dataclasses
import inspect
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest

import lstm_sweep as ls
from lstm_sweep import _tables
from lstm_sweep._drive import drive
from lstm_sweep._launch import spec_of
from lstm_sweep._notebook import NotebookTable
from lstm_sweep._progress import observer_of
from lstm_sweep._store import settings_of
from lstm_sweep._sweep import Sweep
from lstm_sweep.models.config import FIELDS, TrialConfig
from lstm_sweep.search import api
from lstm_sweep.search.api.listings import SweepTrials
from lstm_sweep.search.commands.display import Lines
from lstm_sweep.search.engines.trainings import CorpusTraining
from lstm_sweep.search.process.interrupts import Interrupts
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.trial_record import TrialRecord
from lstm_sweep.search.sweep.observer import SILENT
from lstm_sweep.search.sweep.state import SweepState
from lstm_sweep.search.trial import Ended, Job, Outcome, Slot, Trial, TrialProgress
from lstm_sweep.spaces.dimension import Listed, Range
from tests.states import with_trials

ROOT = Path(__file__).resolve().parents[2]
STORE = Settings("sqlite:////none/mlflow.db", None, "test", "test")
#: a row of `trials --json`
ROW: dict[str, Any] = {
    "trial": "docs/2", "run_id": "r", "status": "FINISHED", "outcome": "complete",
    "phase": "search", "attempt": 1, "val_loss": 1.5, "best_epoch": 2, "epochs": 3,
    "parameters": 10, "seed": 7, "config": TrialConfig(dropout=0.5).to_dict(),
}  # fmt: skip


# --- names ----------------------------------------------------------------------------------------


def test_to_import_it_imports_nothing_heavy() -> None:
    heavy = {"tensorflow", "keras", "mlflow", "pandas", "numpy", "hyperopt", "yaml", "rich"}
    program = f"import sys, lstm_sweep; print(sorted({heavy} & {{*sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_all_public_names_are_there_and_type_checkers_see_them() -> None:
    tree = ast.parse(Path(str(ls.__file__)).read_text(encoding="utf-8"))
    [checked] = [node for node in tree.body if isinstance(node, ast.If)]
    imported = [
        (alias.name, node.module)
        for node in checked.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    assert {name: f"lstm_sweep.{module}" for name, module in ls._MODULES.items()} == dict(imported)
    assert sorted(ls.__all__) == sorted(name for name, _ in imported)
    assert set(ls.__all__) <= {*dir(ls)}
    assert all(getattr(ls, name).__doc__ for name in ls.__all__)
    with pytest.raises(AttributeError, match="'lunch'"):
        _ = ls.lunch


# --- arguments ------------------------------------------------------------------------------------


def documented_fields() -> dict[str, str]:
    """What the docstring of `SweepFields` says of each field."""
    return dict(
        re.findall(r"^    (\w+): (.+)$", inspect.getdoc(ls.SweepFields) or "", re.MULTILINE)
    )


def test_launch_takes_the_fields_of_a_file() -> None:
    fields = [field.name for field in dataclasses.fields(SweepSpec)]
    assert {*ls.SweepFields.__annotations__} == {*fields, "set"}
    assert [*documented_fields()] == [*ls.SweepFields.__annotations__]


def test_the_defaults_that_are_documented_are_those_of_a_sweep() -> None:
    found = 0
    for name, text in documented_fields().items():
        if default := re.search(r"\(default: `?([\w.-]+)`?\)|`([\w-]+)` \(default\)", text):
            found += 1
            used = getattr(SweepSpec(), name)
            written = f"{used:g}" if isinstance(used, float) else str(used)
            expected = default[1] or default[2]
            assert written == ("None" if expected == "never" else expected)
    assert found >= 15


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"trails": 3}, "launch: 'trails' is no field: did you mean 'trials'? possible: data, "),
        ({"trials": 0}, "launch: trials is 0: expected a whole number from 1"),
        ({"set": {"layer": 3}}, "launch: set: 'layer' is no field of a config: did you mean"),
        ({"set": {"dropout": 2}}, "launch: set: dropout is 2: expected a number"),
        ({"set": [3]}, "launch: set is [3]: expected a mapping of fields to values"),
        ({"space": "quck"}, "launch: space 'quck': no such file"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ls.InputError) as caught:
        spec_of(fields)
    assert str(caught.value).startswith(message)


def test_arguments_become_a_spec(tmp_path: Path) -> None:
    space = {"layer_size": [64, 128], "dropout": "0..0.5"}
    changes = {"dropout": 0.25, "batch_size": "32,64"}
    spec = spec_of({"data": tmp_path, "space": space, "set": changes, "minutes": None})
    assert (spec.data, spec.minutes) == (str(tmp_path), None)
    assert spec.space["layer_size"] == Listed("layer_size", (64, 128))
    assert spec.space["dropout"] == Listed("dropout", (0.25,))
    assert spec.space["batch_size"] == Listed("batch_size", (32, 64))
    assert isinstance(spec_of({"space": space}).space["dropout"], Range)


def test_a_template_brings_what_varies() -> None:
    template = ROOT / "tests/templates/dense.py"
    assert spec_of({"template": template}).template
    with pytest.raises(ls.InputError, match="set is given with a template"):
        spec_of({"template": template, "set": {"dropout": 0.5}})


# --- where runs are kept --------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder; its runs are elsewhere."""
    (tmp_path / "mlflow.yaml").write_text("experiment: above\n", encoding="utf-8")
    (tmp_path / "own").mkdir()
    (tmp_path / "own/mlflow.yaml").write_text("tracking_uri: sqlite:///a.db\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    return tmp_path


@pytest.mark.parametrize(
    "store, uri, artifacts",
    [
        (None, "http://127.0.0.1:1", None),  # as the command line
        ("runs", "sqlite:///{}/runs/mlflow.db", "file://{}/runs/mlartifacts"),
        (Path("runs"), "sqlite:///{}/runs/mlflow.db", "file://{}/runs/mlartifacts"),
        ("own", "sqlite:///{}/own/a.db", "file://{}/own/mlartifacts"),
        ("sqlite:///b.db", "sqlite:///{}/b.db", "file://{}/mlartifacts"),
        ("http://host:5000", "http://host:5000", None),
    ],
)
def test_a_store_is_a_folder_or_an_address(
    folder: Path, store: Any, uri: str, artifacts: str | None
) -> None:
    found = settings_of(store)
    assert found.tracking_uri == uri.format(folder)
    assert found.artifacts == (artifacts and artifacts.format(folder))


@pytest.mark.parametrize("store", ["", "mlflow.yaml", "a\0b", "ftp://host"])
def test_other_stores_are_refused(folder: Path, store: str) -> None:
    with pytest.raises(ls.InputError, match="expected"):
        settings_of(store)


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


def test_a_table_without_trials_has_its_columns() -> None:
    table = _tables.trials([])
    assert len(table) == 0
    assert {name: str(kind) for name, kind in table.dtypes.items()} == _tables.TRIAL


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


def test_findings_are_rows_and_totals_are_attributes() -> None:
    found = {
        "session": "a", "place": 1, "symbol": 5, "known": True, "probability": 0.1, "likelier": 2,
        "expected": [{"symbol": 4, "probability": 0.5}], "before": [3],
    }  # fmt: skip
    table = _tables.findings({"bundle": "b/1", "loss": 1.5, "unexpected": 7, "findings": [found]})
    assert table.to_dict("records") == [found]
    assert table.attrs == {"bundle": "b/1", "loss": 1.5, "unexpected": 7}


# --- driving --------------------------------------------------------------------------------------


def test_what_is_driven_answers_or_raises() -> None:
    assert drive(lambda interrupts: interrupts.asked) == 0

    def fails(interrupts: Interrupts) -> None:
        raise ls.InputError("no")

    with pytest.raises(ls.InputError, match=r"^no$"):
        drive(fails)


def test_an_interruption_asks_for_the_end_and_waits_for_it() -> None:
    said: list[str] = []

    def work(interrupts: Interrupts) -> str:
        time.sleep(0.1)  # until the caller waits
        _thread.interrupt_main()
        while not interrupts.asked:
            time.sleep(0.01)
        said.append("closed in order")
        return "docs-1"

    with pytest.raises(KeyboardInterrupt) as caught:
        drive(work, advice=lambda name: f"{name} goes on")
    assert said == ["closed in order"]
    assert caught.value.__notes__ == ["docs-1 goes on"]


# --- questions ------------------------------------------------------------------------------------


def record(loss: float | None) -> TrialRecord:
    """A trial of sweep `docs` as it is read from the store."""
    trial = Trial(sweep="docs", number=2, config=TrialConfig(), seed=0)
    values: dict[str, Any] = {
        "trial": trial, "run_id": "run", "status": "FINISHED", "reason": "", "parameters": 1,
        "outcome": "error" if loss is None else "complete", "best_epoch": 1, "epochs": 1,
        "has_weights": True, "tags": {},
    }  # fmt: skip
    return TrialRecord(best_val_loss=loss, **values)


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sweep]:
    """Makes sweeps in which these trials are found, and nothing else."""

    def make(*records: TrialRecord, left_out: tuple[str, ...] = ()) -> Sweep:
        listing = SweepTrials(records, left_out, {"unigram": 3.0})
        monkeypatch.setattr(api, "trials", lambda name, settings, top=None: listing)
        status = SimpleNamespace(state="failed", why="10 trials in a row have failed")
        monkeypatch.setattr(api, "status", lambda name, settings: status)
        return Sweep("docs", STORE)

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


def test_baselines_come_with_the_trials(listed: Callable[..., Sweep]) -> None:
    assert listed().baselines == {"unigram": 3.0}


def test_of_runs_that_cannot_be_read_there_is_a_warning(listed: Callable[..., Sweep]) -> None:
    with pytest.warns(UserWarning, match="left out: run x is damaged") as caught:
        table = listed(record(1.0), left_out=("run x is damaged",)).trials()
    assert len(table) == 1
    assert caught[0].filename == __file__


# --- progress -------------------------------------------------------------------------------------


class Cell:
    """The output of a notebook's cell."""

    def __init__(self) -> None:
        self.shown: list[dict[str, str]] = []
        self.outputs = 0

    def display(self, data: dict[str, str], *, raw: bool, display_id: bool) -> Cell:
        """Make an output."""
        self.outputs += 1
        self.update(data, raw=raw)
        return self

    def update(self, data: dict[str, str], *, raw: bool) -> None:
        """Change it."""
        self.shown.append(data)


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Cell:
    """That of a notebook in which this process is the kernel."""
    found = Cell()
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=found.display))
    return found


def running(*losses: float, number: int = 2, ended: Ended | None = None) -> TrialProgress:
    """A trial of sweep `docs`."""
    trial = Trial(sweep="docs", number=number, config=TrialConfig(layer_size=96), seed=0)
    slot, none = Slot(0, core=0), Path("/none")
    job = Job(trial=trial, slot=slot, folder=none, training=CorpusTraining(none, 1, 0))
    epochs = [{"val_loss": loss} for loss in losses]
    return TrialProgress(trial, "run", slot, job, epochs=epochs, ended=ended)


def state(now: float = 0.0, **changes: Any) -> SweepState:
    """A sweep of five trials, of which one has ended."""
    done = running(1.5, 1.25, number=1, ended=Ended(Outcome.COMPLETE))
    slot = Slot(0, core=0)
    new = SweepState(
        "docs", SweepSpec(trials=5), "parent", (slot,), {"naive_bayes": 2.0}, now=now, **changes
    )
    return with_trials(new, [done], [running(1.75)])


def test_outside_a_notebook_it_is_silent_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert observer_of(None) is SILENT and observer_of(False) is SILENT
    lines = observer_of(True)
    assert isinstance(lines, Lines)
    lines.said("a line")
    assert capsys.readouterr() == ("", "a line\n")


def test_ipython_in_a_terminal_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = SimpleNamespace(get_ipython=lambda: SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython", terminal)
    assert observer_of(None) is SILENT


def test_in_a_notebook_one_output_is_updated(cell: Cell) -> None:
    assert observer_of(False) is SILENT
    table = observer_of(None)
    assert isinstance(table, NotebookTable)
    table.said("corpus: <b>")
    assert cell.outputs == 0
    table.started(state(now=1.0))
    table.update(state(now=1.1))  # too soon
    table.update(state(now=2.0))
    table.ended(state(now=2.1))
    assert (cell.outputs, len(cell.shown)) == (1, 3)
    assert "docs: 1 of 5 trials, best docs/1 1.2500" in cell.shown[1]["text/plain"]


def test_the_table_has_what_runs_what_is_best_and_the_baselines(cell: Cell) -> None:
    table = NotebookTable()
    table.said("corpus: <b> & more")
    table.started(state())
    page = cell.shown[0]["text/html"]
    heads = re.findall(r"<th>([^<]*)</th>", page)
    assert heads[0] == "running" and heads[len(heads) // 2] == "best"
    first, second = re.findall(r"<tbody><tr>(.*?)</tr></tbody>", page)
    assert first.startswith("<td>docs/2</td>") and first.endswith("<td>1</td><td>1.7500</td>")
    assert second.startswith("<td>docs/1</td>") and second.endswith("<td>2</td><td>1.2500</td>")
    assert "baselines: naive bayes 2.0000" in page
    assert "corpus: &lt;b&gt; &amp; more" in page
    assert '<progress value="1" max="5"' in page


def test_a_sweep_that_has_ended_shows_no_bar_and_nothing_that_runs(cell: Cell) -> None:
    NotebookTable().ended(state())
    assert "<progress" not in cell.shown[0]["text/html"]
    assert "<th>running</th>" not in cell.shown[0]["text/html"]


def test_no_secret_is_shown_in_a_notebook(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "PLANTED")
    table = NotebookTable()
    table.said("no answer: PLANTED")
    table.started(state())
    assert "no answer: ***" in cell.shown[0]["text/html"]


# --- examples -------------------------------------------------------------------------------------


NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.name)
def test_an_example_is_python_without_outputs(file: Path) -> None:
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in cells:
        compile(cell.source, file.name, "exec")
        assert cell.outputs == [] and cell.execution_count is None
    assert len(cells) > 3
