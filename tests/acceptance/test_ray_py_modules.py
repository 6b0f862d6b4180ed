"""A sweep on a Ray cluster that does not have this program, and is sent it by Ray."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

import lstm_sweep
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.settings import load
from lstm_sweep.search.store.tracking import MlflowStore
from tests.conftest import TINY, outside, write_text
from tests.ray_head import started

PACKAGE = Path(lstm_sweep.__file__).parent


def without_program(folder: Path) -> str:
    """Python of a new environment with the packages of this one, but for this program."""
    venv.create(folder)
    [own] = (folder / "lib").glob("python*/site-packages")
    # files named there, by which editable packages are found, are not read
    places = [path for path in sys.path if path.endswith("site-packages")]
    (own / "packages.pth").write_text("\n".join([sysconfig.get_path("purelib"), *places]))
    return str(folder / "bin" / "python")


@pytest.mark.full
def test_the_program_comes_to_nodes_that_do_not_have_it(
    workplace: Callable[[str], Path], tmp_path: Path
) -> None:
    folder, python = workplace("sent"), without_program(tmp_path / "venv")
    write_text(folder / "words.txt")
    found = subprocess.run(
        [python, "-c", "import ray, lstm_sweep"],
        cwd=folder, env=outside(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "No module named 'lstm_sweep'" in found.stderr
    store = f"sqlite:///{folder / 'mlflow.db'}"
    wanted = {"py_modules": [str(PACKAGE)], "env_vars": {"MLFLOW_TRACKING_URI": store}}
    with started(python=python) as head:
        done = subprocess.run(
            [
                *(python, "-m", "ray.scripts.scripts", "job", "submit", "--address", head.address),
                *("--runtime-env-json", json.dumps(wanted), "--"),
                *("python", "-m", "lstm_sweep", "launch", "--on", "ray", "--name", "sent"),
                *("--data", str(folder / "words.txt"), "--trials", "2"),
                *("--confirm-configs", "0", *TINY),
            ],
            cwd=folder,
            # Ray takes this variable, which tests of other clusters set, before --address
            env=outside()
            | {"RAY_ADDRESS": head.address, "RAY_AUTH_MODE": "disabled", "HOME": str(tmp_path)},
            capture_output=True, text=True, check=False, timeout=400,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    records = reader.trials(MlflowStore(load(folder, {"MLFLOW_TRACKING_URI": store})), "sent")
    assert [record.outcome for record in records] == ["complete"] * 2
