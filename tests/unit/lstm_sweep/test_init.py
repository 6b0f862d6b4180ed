"""The names of the Python API, and what their import imports."""

from __future__ import annotations

import _thread
import ast
import importlib
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import lstm_sweep as ls
from lstm_sweep._launch import settings_of
from lstm_sweep._sweep import drive
from lstm_sweep.search.process.signals import Interrupts

ROOT = Path(__file__).resolve().parents[3]


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
    imports = [node for node in checked.body if isinstance(node, ast.ImportFrom)]
    assert sorted(ls.__all__) == sorted(alias.name for node in imports for alias in node.names)
    for node in imports:
        module = importlib.import_module(str(node.module))
        assert all(getattr(ls, one.name) is getattr(module, one.name) for one in node.names)
    assert set(ls.__all__) <= {*dir(ls)}
    assert all(getattr(ls, name).__doc__ for name in ls.__all__)
    with pytest.raises(AttributeError, match="'lunch'"):
        _ = ls.lunch


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
