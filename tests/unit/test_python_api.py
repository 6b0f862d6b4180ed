"""The Python API without stores and workers: names, arguments, where runs are kept, driving."""

from __future__ import annotations

import _thread
import ast
import dataclasses
import inspect
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import lstm_sweep as ls
from lstm_sweep._drive import drive
from lstm_sweep._launch import spec_of
from lstm_sweep._store import settings_of
from lstm_sweep.search.process.interrupts import Interrupts
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.spaces.dimension import Listed, Range

ROOT = Path(__file__).resolve().parents[2]


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


# --- driving --------------------------------------------------------------------------------------


def test_what_is_driven_answers_or_raises() -> None:
    assert drive(lambda interrupts: interrupts.signal_number) == 0

    def fails(interrupts: Interrupts) -> None:
        raise ls.InputError("no")

    with pytest.raises(ls.InputError, match=r"^no$"):
        drive(fails)


def test_an_interruption_asks_for_the_end_and_waits_for_it() -> None:
    said: list[str] = []

    def work(interrupts: Interrupts) -> str:
        time.sleep(0.1)  # until the caller waits
        _thread.interrupt_main()
        while not interrupts.signal_number:
            time.sleep(0.01)
        said.append("closed in order")
        return "docs-1"

    with pytest.raises(KeyboardInterrupt) as caught:
        drive(work, advice=lambda name: f"{name} goes on")
    assert said == ["closed in order"]
    assert caught.value.__notes__ == ["docs-1 goes on"]
