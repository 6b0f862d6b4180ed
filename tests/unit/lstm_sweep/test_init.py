"""The names of the Python API, and what their import imports."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import lstm_sweep as ls

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
