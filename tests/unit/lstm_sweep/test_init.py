"""The names of the Python API, and what their import imports."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pandas as pd
import pytest

import lstm_sweep as ls
from lstm_sweep import _tables
from lstm_sweep._launch import settings_of
from lstm_sweep._sweep import Sweep
from lstm_sweep.models.config import FIELDS, TrialConfig
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions import references
from lstm_sweep.search.actions.detection import Rule
from lstm_sweep.search.actions.inference import GenerationRequest
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.actions.sweeps import SweepTrials
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tags import Tags
from lstm_sweep.search.values.spec import MAY_CHANGE
from lstm_sweep.search.values.trial import Ended, Outcome
from tests.conftest import run_command
from tests.fakes import ScriptedEngine
from tests.sweeps import LOSSES, PLAIN

ROOT = Path(__file__).resolve().parents[3]
HELP = "from lstm_sweep.search import cli; cli.main([*{}, '--help'])"


@pytest.mark.parametrize("program", ["import lstm_sweep", HELP.format([]), HELP.format(["launch"])])
def test_neither_its_import_nor_help_imports_anything_heavy(program: str) -> None:
    heavy = {"tensorflow", "keras", "mlflow", "pandas", "numpy", "hyperopt", "yaml", "rich"}
    at_end = f"import atexit, sys; atexit.register(lambda: print({heavy} & {{*sys.modules}}))"
    done = run_command(sys.executable, "-c", f"{at_end}; {program}", cwd=ROOT)
    assert (done.code, done.out.splitlines()[-1:], done.err) == (0, ["set()"], "")


def test_all_public_names_are_there_and_type_checkers_see_them() -> None:
    tree = ast.parse(Path(str(ls.__file__)).read_text(encoding="utf-8"))
    [checked] = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in checked.body if isinstance(node, ast.ImportFrom)]
    assert sorted(ls.__all__) == sorted(alias.name for node in imports for alias in node.names)
    for node in imports:
        module = importlib.import_module(str(node.module))
        assert all(getattr(ls, one.name) is getattr(module, one.name) for one in node.names)
    assert set(ls.__all__) <= {*dir(ls)}
    assert all(getattr(ls, name).__doc__ for name in ls.__all__)
    with pytest.raises(AttributeError, match="'lunch'"):
        _ = ls.lunch


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


# Whatever a Python caller gets wrong is an `InputError` of one line


#: rates for a ladder
RATES: Any = {"learning_rate": [0.1, 0.01, 0.001]}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the finished sweep `s`, and a text to train on."""
    swept = tmp_path_factory.mktemp("python")
    (swept / "book.txt").write_text("abcdefgh " * 400, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(references, "open_engine", lambda name, **more: ScriptedEngine(LOSSES))
        ls.launch(store=swept, **fields(swept, name="s", trials=3))
    return swept


def fields(swept: Path, **more: Any) -> Any:
    """Arguments of a small sweep."""
    space = {"layers": 1, "layer_size": [4, 8], "sequence_length": 10, "epochs": 2}
    given = {"data": swept / "book.txt", "space": space, "size_rule": "off", "targets": 50}
    return {**given, **PLAIN, **more}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ls.Model:
    """The model of a template, whose network predicts no symbols."""
    return ls.load(template_bundle(tmp_path_factory.mktemp("bundle")))


def template_bundle(swept: Path) -> Path:
    (swept / "config.json").write_text('{"units:3": 4}', encoding="utf-8")
    (swept / "metrics.json").write_text('{"trial": "mine/3", "loss": 0.5}', encoding="utf-8")
    (swept / "model.keras").write_bytes(b"weights")
    return swept


Call = Callable[[Path, Any], object]

BAD_CALLS: dict[str, Call] = {
    "launch: no such field": lambda f, m: ls.launch(store=f, **fields(f, trails=3)),
    "generate: of a template": lambda f, m: m.generate(),
    "detect: of a template": lambda f, m: m.detect(f / "book.txt"),
    # what has a wrong type; values are those of commands, and refused by the same functions
    "store: a number": lambda f, m: ls.sweeps(store=wrong(5)),
    "sweep: a number": lambda f, m: ls.sweep(wrong(5), store=f),
    "load: a number": lambda f, m: ls.load(wrong(5)),
    "trial: none given": lambda f, m: sweep(f).trial(wrong(None)),
    "trial: half": lambda f, m: sweep(f).trial(wrong(2.5)),
    "export: to a number": lambda f, m: trial(f).export(wrong(5)),
    "export: format": lambda f, m: trial(f).export(f / "new", format=wrong(5)),
    "export: unchecked": lambda f, m: trial(f).export(f / "new", unchecked=wrong("yes")),
    "rerun: set": lambda f, m: trial(f).rerun(set=wrong("layers=1")),
    "generate: prompt": lambda f, m: m.generate(wrong(5)),
    "generate: length a fraction": lambda f, m: m.generate(length=wrong(2.5)),
    "generate: length true": lambda f, m: m.generate(length=wrong(True)),
    "generate: temperature a text": lambda f, m: m.generate(temperature=wrong("1")),
    "request": lambda f, m: GenerationRequest(wrong(5), 5, 1.0, 1, 0),
    "rule": lambda f, m: Rule(wrong("0.1")),
    "detect: data": lambda f, m: m.detect(wrong(5)),
    "detect: below a text": lambda f, m: m.detect("x", below=wrong("0.1")),
    "detect: candidates a fraction": lambda f, m: m.detect("x", candidates=wrong(1.5)),
} | {
    f"resume: {name} is {value!r}": lambda f, m, name=name, value=value: sweep(f).resume(
        **{name: value}
    )
    for name in MAY_CHANGE
    if name != "name"
    for value in ("x", [1], -1)
}  # fmt: skip


def wrong(value: object) -> Any:
    """A value of another type than what is annotated."""
    return value


def sweep(swept: Path) -> ls.Sweep:
    return ls.sweep("s", store=swept)


def trial(swept: Path) -> ls.Trial:
    return sweep(swept).trial(1)


@pytest.mark.parametrize("call", BAD_CALLS.values(), ids=BAD_CALLS)
def test_it_is_told_in_one_line(swept: Path, model: ls.Model, call: Call) -> None:
    with pytest.raises(InputError) as refused:
        call(swept, model)
    told = str(refused.value)
    assert "\n" not in told and len(told) > 10


# --- a template's model ---------------------------------------------------------------------------


@pytest.mark.parametrize("damaged", ["config.json", "metrics.json", "model.keras"])
def test_a_damaged_model_of_a_template_is_refused(tmp_path: Path, damaged: str) -> None:
    swept = template_bundle(tmp_path)
    ls.load(swept)
    (swept / damaged).unlink()
    with pytest.raises(InputError, match=r"[Nn]o such file|has no alphabet"):
        ls.load(swept)


# What the Python API answers about trials: tables, and the best one


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
