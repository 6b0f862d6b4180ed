"""Sweeps and exports in threads of one process disturb neither each other nor that process."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions.export import write_bundle
from lstm_sweep.search.engines.hardware import find_gpus
from lstm_sweep.search.engines.local import LocalEngine
from lstm_sweep.search.process.forkserver import call, stream
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tracking import MlflowStore
from lstm_sweep.search.values.trial import Slot, ranked
from tests.conftest import Done, nothing_changed, outside, run_command, write_text
from tests.ray_cluster import RayCluster
from tests.sweeps import PLAIN, store_in, sweep_of, tiny_spec


def of_libraries() -> dict[str, Any]:
    """What is common to all threads of this process in libraries."""
    from mlflow import environment_variables as variables

    from lstm_sweep.models.backend import keras

    return {
        "gpus": find_gpus(),
        "levels": [logging.getLogger(name).level for name in ("mlflow", "alembic", "root")],
        "requests": [
            variables.MLFLOW_HTTP_REQUEST_TIMEOUT.get(),
            variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES.get(),
            variables.MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.get(),
        ],
        "arithmetic": keras.config.floatx(),
    }


def both(work: Callable[[Path], Any], folders: list[Path]) -> list[Any]:
    """Do the same in two threads at once."""
    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(work, folders))


@pytest.mark.full
def test_sweeps_and_exports_in_threads_leave_the_process_as_it_was(
    workplace: Callable[[str], Path], corpus: Corpus, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    folders = [workplace("first"), workplace("second")]

    def sweep(folder: Path) -> dict[str, int]:
        spec = tiny_spec(data=str(data), trials=3, **PLAIN)
        engine = LocalEngine((Slot(0, core=min(os.sched_getaffinity(0))),))
        return sweep_of(store_in(folder), corpus, engine, spec).run().counts

    def export_best(folder: Path, to: str = "best") -> dict[str, Any]:
        store = store_in(folder)
        record = ranked(reader.trials(store, "s"))[0]
        return write_bundle(store, [record], folder / to, "keras").to_dict()

    store_in(folders[0])  # MLflow is imported
    with nothing_changed(of_libraries):
        assert both(sweep, folders) == [{"complete": 3}] * 2
    with nothing_changed(of_libraries):
        exported = both(export_best, folders)
    assert [one["parity"]["windows"] for one in exported] == [100, 100]
    assert exported[0] | {"bundle": ""} == exported[1] | {"bundle": ""}  # of the same bits
    told = json.loads((folders[0] / "best" / "metrics.json").read_text(encoding="utf-8"))
    assert told["trial"] == exported[0]["trial"]
    third = workplace("third")
    with nothing_changed(of_libraries), ThreadPoolExecutor(2) as threads:
        swept = threads.submit(sweep, third)
        again = threads.submit(export_best, folders[0], "again")
    assert swept.result() == {"complete": 3}
    assert again.result() | {"bundle": ""} == exported[0] | {"bundle": ""}


def test_a_store_leaves_the_environment_as_it_was(workplace: Callable[[str], Path]) -> None:
    store = store_in(workplace("store"))
    with nothing_changed(of_libraries):
        store = MlflowStore(
            Settings(store.settings.tracking_uri, None, "test", "t", request_timeout_s=7)
        )
        run_id = store.create_run("x", {})
        store.finish(run_id, "FINISHED")


def numbers(count: int) -> Iterator[int]:
    """Some numbers, and a mark that stays in the process."""
    os.environ["MARK"] = "set"
    os.chdir("/")
    print("said")
    yield from range(count)


def fails(error: Exception) -> None:
    """Raise."""
    raise error


def dies() -> None:
    """Leave as a process that the kernel kills."""
    os.kill(os.getpid(), signal.SIGKILL)


def whereabouts() -> tuple[int, Path]:
    """Number and folder of the process."""
    return os.getpid(), Path.cwd()


def test_a_function_runs_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with nothing_changed():
        pid, folder = call(whereabouts)
        assert list(stream(numbers, 3)) == [0, 1, 2]
    assert pid != os.getpid() and folder == tmp_path
    assert not Path(f"/proc/{pid}").exists()
    assert capfd.readouterr() == ("", "")


def test_what_it_raises_is_raised_here() -> None:
    with pytest.raises(InputError, match=r"^a wrong name$"):
        call(fails, InputError("a wrong name"))
    with pytest.raises(RuntimeError) as caught:
        call(fails, RuntimeError("they differ"))
    assert str(caught.value) == "they differ"
    with pytest.raises(RuntimeError) as caught:
        call(fails, KeyError("x"))
    assert str(caught.value) == "KeyError: 'x'"
    assert "in fails" in "".join(caught.value.__notes__)
    with pytest.raises(RuntimeError, match="in the midst of its work: SIGKILL"):
        call(dies)


def test_it_ends_when_nobody_asks_any_more() -> None:
    endless = stream(numbers, 1 << 60)
    assert next(endless) == 0
    [pid] = [child.pid for child in active_children()]
    del endless
    assert not Path(f"/proc/{pid}").exists()


SCRIPT = """
import os
from lstm_sweep.search.process.forkserver import call
print("runs")
print(call(os.getcwd))
"""


def test_a_script_without_a_guard_is_run_once(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = run_command(sys.executable, "script.py", cwd=tmp_path)
    assert done == Done(0, f"runs\n{tmp_path}\n", "")


# A sweep on a cluster leaves the process that calls `launch` as it was, as far as Ray lets it


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
    given = outside() | ray_cluster.login | {"PYTHONPATH": str(Path.cwd())}
    done = run_command(sys.executable, "-c", CALLER, cwd=tmp_path, environment=given)
    assert (done.code, done.err) == (0, "")
    assert done.json == {"outcomes": ["complete"] * 2, "changed": {}}  # nothing else is printed


# Processes of a template and of a corpus, one after the other


#: whether Keras sees pandas; and if not, that nothing which is not used is there, but can be had
LOOK = """
import sys

def sees_pandas():
    from keras.src.trainers.data_adapters import array_slicing
    if array_slicing.pandas is None:
        from lstm_sweep.models.network import training
        assert not set(training.backend.UNUSED) & set(sys.modules)
        assert training.backend.is_tensorflow()
        import matplotlib, pandas, sklearn
    return array_slicing.pandas is not None
"""
CALLS = """
import sys
from look import sees_pandas
from lstm_sweep.search.process import forkserver
print([forkserver.call(sees_pandas, user_code=one == "template") for one in sys.argv[1:]])
"""


def test_only_user_code_has_the_whole_of_keras(tmp_path: Path) -> None:
    (tmp_path / "look.py").write_text(LOOK)
    (tmp_path / "calls.py").write_text(CALLS)
    order = ["corpus", "template", "corpus", "template"]
    done = run_command(sys.executable, "calls.py", *order, cwd=tmp_path, environment=outside())
    assert done.out.strip() == str([one == "template" for one in order]), done
