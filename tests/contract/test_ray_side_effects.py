"""A sweep on a cluster leaves the process that calls `launch` as it was, as far as Ray lets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import outside, write_text
from tests.ray_cluster import RayCluster

CALLER = """
import json, logging, os, random, signal, sys, threading
import numpy as np
import lstm_sweep as ls

def caught():
    [line] = [line for line in open("/proc/self/status") if line.startswith("SigCgt")]
    return line.split()[1]

def of_process():
    return {
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "outputs": [os.readlink(f"/proc/self/fd/{number}") for number in (0, 1, 2)],
        "handlers": {str(one): str(signal.getsignal(one)) for one in signal.valid_signals()},
        "handlers in C": caught(),
        "random": hash(random.getstate()),
        "random of NumPy": hash(repr(np.random.get_state())),
        "threads": sorted(one.name for one in threading.enumerate()),
        "log": [logging.root.level, len(logging.root.handlers)],
        "hook": repr(sys.excepthook), "path": sys.path, "cores": sorted(os.sched_getaffinity(0)),
    }

before = of_process()
sweep = ls.launch(
    data="words.txt", on="ray", workers=2, trials=2, size_rule="off", targets=300, ladder=False,
    halving=False, confirm_configs=0,
    space={"layer_size": [8, 12], "sequence_length": 10, "epochs": 1},
)
after = of_process()
outcomes = sweep.trials()["outcome"].tolist()
changed = {
    name: [one[name] for one in (before, after)] for name in before if before[name] != after[name]
}
for name in {"environment", "handlers"} & {*changed}:  # a few of them
    [was, now] = map(dict.items, changed[name])
    changed[name] = [*(was ^ now)]
print(json.dumps({"outcomes": outcomes, "changed": changed}))
"""


@pytest.mark.full
def test_a_sweep_on_ray_leaves_the_process_as_it_was(
    ray_cluster: RayCluster, tmp_path: Path
) -> None:
    write_text(tmp_path / "words.txt")
    done = subprocess.run(
        [sys.executable, "-c", CALLER],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env=outside() | ray_cluster.login | {"PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)  # nothing else is printed
    assert found["changed"] == {}
    assert found["outcomes"] == ["complete"] * 2
    assert done.stderr == ""
