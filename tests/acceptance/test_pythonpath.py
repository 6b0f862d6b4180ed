"""Packages that a Python has by PYTHONPATH alone, as modules of clusters give them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import outside, write_text

ROOT = Path(__file__).parents[2]
LAUNCH = ["--trials", "1", "--ladder", "off", "--set", "epochs=1", "--set", "layer_size=16"]
LAUNCH += ["--set", "layers=1", "--set", "sequence_length=10", "--size-rule", "off", "--name", "s"]


@pytest.mark.full
def test_a_trial_is_trained_and_exported_with_packages_by_pythonpath(tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    packages = Path(np.__file__).parents[1]
    # a relative folder, too, since commands are run in their working folder
    given = os.pathsep.join([os.path.relpath(packages, tmp_path), str(ROOT)])

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [tmp_path / "bare/bin/python", "-m", "lstm_sweep", *arguments],
            cwd=tmp_path, env=outside() | {"PYTHONPATH": given}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    data = write_text(tmp_path / "words.txt")
    assert str(tmp_path / "bare") not in sys.path
    run("launch", "--data", str(data), *LAUNCH)
    exported = json.loads(run("export", "s", "--to", "best", "--json"))
    assert exported["parity"]["windows"] > 0
