"""The program works from a built wheel, away from its sources."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import TINY, outside, run_command, run_program, write_text

pytestmark = pytest.mark.full

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("models", "spaces", "search")
#: what modules read that stand beside them
DATA = [
    f"lstm_sweep/search/{name}"
    for name in ("report/figure.html", "report/report.html", "report/style.css")
] + [
    f"lstm_sweep/{path.relative_to(ROOT)}"
    for kind in ("html", "css", "js")
    for path in (ROOT / "search/service").rglob(f"*.{kind}")
]

START = """
import importlib.util
import sys
sys.path.insert(0, sys.argv[1])
import lstm_sweep.search.cli
assert lstm_sweep.search.cli.__file__.startswith(sys.argv[1])
for name in ("models", "search", "spaces"):
    assert importlib.util.find_spec(name) is None
size = ["size", "--data", "workflow-log", "--set", "layer_size=32", "--json"]
sys.exit(lstm_sweep.search.cli.main(size))
"""


def built_wheel(folder: Path) -> Path:
    """Build the wheel in a folder, from a copy of what it is made of."""
    (folder / "source").mkdir()
    made_of = [ROOT / name for name in ("lstm_sweep", *FOLDERS, "pyproject.toml", "README.md")]
    subprocess.run(["cp", "-r", *made_of, folder / "source"], check=True)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), "."]
    done = run_command(*build, cwd=folder / "source")
    assert done.code == 0, done
    [wheel] = folder.glob("*.whl")
    return wheel


def test_a_wheel_is_one_package_that_holds_every_module_and_runs(tmp_path: Path) -> None:
    wheel = built_wheel(tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        top = {name.partition("/")[0] for name in archive.namelist()}
        inside = {name for name in archive.namelist() if name.endswith((".py", "py.typed"))}
        archive.extractall(tmp_path / "installed")
        [entry] = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert set(DATA) <= set(archive.namelist())
        assert "lstm-sweep = lstm_sweep.search.cli:main" in archive.read(entry).decode()
    own = {"lstm_sweep/py.typed"}
    own |= {f"lstm_sweep/{path.name}" for path in (ROOT / "lstm_sweep").glob("*.py")}
    modules = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    assert inside == own | {f"lstm_sweep/{path.relative_to(ROOT)}" for path in modules}
    assert {name for name in top if not name.endswith(".dist-info")} == {"lstm_sweep"}
    started = run_command(sys.executable, "-I", "-c", START, tmp_path / "installed", cwd=tmp_path)
    assert started.code == 0 and '"admitted"' in started.out, started


NAMES = ("models", "search", "spaces", "template")
TEMPLATE = """
import models, search, spaces, template.deeper

def data():
    return 1, 2

def create_model(a, b):
    assert (a, b) == (1, 2)
    parts = models.value + search.value + spaces.value + template.deeper.value
    return parts + {{choice([1, 2])}}
"""


def test_a_template_imports_packages_that_are_called_like_folders_of_the_program(
    workplace: Callable[[str], Path],
) -> None:
    folder = workplace("own_packages")
    for number, name in enumerate(NAMES):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"value = {10**number}\n", encoding="utf-8")
    (folder / "template" / "deeper.py").write_text("value = 5000\n", encoding="utf-8")
    (folder / "mine.py").write_text(TEMPLATE, encoding="utf-8")
    launch = ("launch", "--template", "mine.py", "--trials", "2", "--workers", "1", "--json")
    done = run_program(*launch, cwd=folder, real=True)
    assert done.code == 0, done.err
    assert done.json["trials"] == {"complete": 2}
    assert done.json["best"]["val_loss"] == 5112


# Packages that a Python has by PYTHONPATH alone, as modules of clusters give them


def test_a_trial_is_trained_and_exported_with_packages_by_pythonpath(tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    packages = Path(np.__file__).parents[1]
    # a relative folder, too, since commands are run in their working folder
    given = outside()
    given["PYTHONPATH"] = os.pathsep.join([os.path.relpath(packages, tmp_path), str(ROOT)])
    program = (tmp_path / "bare/bin/python", "-m", "lstm_sweep")
    data = str(write_text(tmp_path / "words.txt"))
    launch = ("launch", "--data", data, "--name", "s", *TINY)
    export = ("export", "s", "--to", "best", "--json")
    for words in ((*launch, "--trials", "1", "--confirm-configs", "0"), export):
        done = run_command(*program, *words, cwd=tmp_path, environment=given)
        assert done.code == 0, done
    assert done.json["parity"]["windows"] > 0
