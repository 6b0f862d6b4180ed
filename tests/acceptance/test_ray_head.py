"""The head of a Ray cluster dies, and with it the cluster: a sweep goes on on another one."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

import lstm_sweep
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.settings import load
from lstm_sweep.search.store.tracking import MlflowStore
from tests import ray_cluster
from tests.cases import Place
from tests.conftest import TINY, outside, wait_until, write_text
from tests.ray_head import started

#: seconds after which Ray takes a head that does not answer for dead, instead of 60
SOON = {"RAY_gcs_rpc_server_reconnect_timeout_s": "5"}


def alive(processes: set[int]) -> set[int]:
    """Those of some processes that are still there 30 seconds later, or as soon as none is."""
    until = time.monotonic() + 30
    while (left := {pid for pid in processes if Path(f"/proc/{pid}").exists()}) and (
        time.monotonic() < until
    ):
        time.sleep(0.2)
    return left


@pytest.mark.full
def test_a_sweep_whose_cluster_has_died_goes_on_on_another(
    workplace: Callable[[str], Path],
) -> None:
    folder = workplace("beheaded")
    write_text(folder / "words.txt")
    options = ("--name", "s", "--on", "ray", *TINY, "--epochs", "30")
    with ray_cluster.running("one", **SOON) as first:
        place = Place(folder, first.login | SOON)
        process = place.start(
            "launch", "--data", "words.txt", "--trials", "3", "--confirm-configs", "0", *options
        )
        wait_until(lambda: len(first.agents("one")) > 3, process)
        wait_until(lambda: "complete" in str(place.trials("s")), process)
        workers = first.agents("one")
        first.behead()
        process.communicate(timeout=300)
        assert process.returncode == 1
        assert alive(workers) == set()
        first.remove("one")
    with ray_cluster.running("two") as second:
        place = Place(folder, second.login)
        done = place.run("resume", "s", "--on", "ray", "--json")
    assert done.code == 0, done.err
    assert done.json["trials"] == {"complete": 3}
    assert {row["outcome"] for row in place.trials("s")} == {"complete"}


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
