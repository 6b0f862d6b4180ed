"""A sweep as a user runs it: through the installed program, in real processes, on a real store."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cases import BUNDLE, LIBRARY_NOISE, Place, Swept, SweptCase, sweep_first
from tests.conftest import run_command, wait_until, write_text


@pytest.fixture(scope="module")
def swept(workplace: Callable[[str], Path]) -> Swept:
    """A sweep in a folder whose packages bear the program's names, and must not be imported."""
    folder = workplace("swept")
    for decoy in ("lstm_sweep", "models", "search", "spaces", "keras", "mlflow"):
        (folder / decoy).mkdir()
        (folder / decoy / "__init__.py").write_text(f"raise ImportError('{decoy} of the folder')")
    write_text(folder / "words.txt")
    return sweep_first(Place(folder, apart=True))


#: loads a bundle without this program, and runs the program of the bundle's own README
LOAD = """
import sys
import keras, numpy as np
model = keras.models.load_model("model.keras")
print(model.predict(np.ones((3, 10), "int32"), verbose=0).shape)
readme = open("README.md", encoding="utf-8").read()
exec(readme.partition("```python\\n")[2].partition("```")[0])
print([name for name in sys.modules if name.split(".")[0] == "lstm_sweep"])
"""


def check_with_plain_keras(bundle: Path) -> None:
    """Have a process that knows nothing of this program use what an export has written."""
    alphabet = json.loads((bundle / "alphabet.json").read_text(encoding="utf-8"))
    assert alphabet["reserved"] == ["<start>", "<unk>"]
    readme = (bundle / "README.md").read_text(encoding="utf-8")
    assert len(readme.partition("```python\n")[2].partition("```")[0].splitlines()) == 10
    loaded = run_command(sys.executable, "-I", "-c", LOAD, cwd=bundle)
    assert loaded.code == 0, loaded
    size = len(alphabet["reserved"]) + len(alphabet["symbols"])
    shape, *predictions, ours = loaded.out.splitlines()
    assert (shape, len(predictions), ours) == (str((3, size)), 5, "[]")


class TestSwept(SweptCase):
    """On an SQLite file."""


def test_an_mlflow_client_reads_the_runs(swept: Swept) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{swept.place.folder / 'mlflow.db'}")
    parent = client.get_run(swept.done.json["run_id"])
    children = client.search_runs(
        [parent.info.experiment_id], f"tags.mlflow.parentRunId = '{parent.info.run_id}'"
    )
    trials = [run for run in children if run.data.tags["sweep.phase"] == "search"]
    baselines = [run for run in children if run.data.tags["sweep.phase"] == "baseline"]
    assert (len(trials), len(baselines)) == (4, 4)
    for run in trials:
        history = client.get_metric_history(run.info.run_id, "val_loss")
        assert [point.step for point in history] == [1, 2]
        best = min(point.value for point in history)
        assert run.data.metrics["best_val_loss"] == best
        assert 0 < run.data.metrics["scoring_seconds"] < run.data.metrics["round_seconds"]
        assert {"learning_rate", "parameters", "parameters_per_symbol"} <= set(run.data.params)
        assert run.data.tags["sweep.outcome"] == "complete"
    assert {run.info.status for run in [parent, *children]} == {"FINISHED"}
    spec = client.download_artifacts(parent.info.run_id, "sweep.yaml")
    assert "words.txt" in Path(spec).read_text(encoding="utf-8")


def test_a_variation_says_that_it_is_one(swept: Swept) -> None:
    done = swept.place.read("rerun", "first/0", "--set", "batch_size=16", "--json")
    assert done.code == 0
    assert done.json["variation"] == {"batch_size": {"was": 32, "is": 16}}
    assert done.json["verdict"] == "different"
    assert done.json["first_difference"]["epoch"] == 1


def test_a_rerun_that_this_machine_cannot_compute_is_refused(
    swept: Swept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # so it has no GPU
    refused = swept.place.read("rerun", "first/0", "--set", "precision=float16").refusal
    assert refused == (
        "lstm-sweep: precision float16 needs a GPU, and there is none: expected float32"
    )


@pytest.mark.full
def test_a_savedmodel_is_written_beside_and_predicts_the_same(swept: Swept, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    command = ("export", swept.trial("bi"), "--to", bundle, "--format", "savedmodel", "--json")
    done = swept.place.run(*command)
    assert done.code == 0, done.err
    assert not LIBRARY_NOISE.search(done.err)
    assert done.json["parity"] == {"max_difference": pytest.approx(0, abs=1e-4), "windows": 100}
    assert done.json["test_loss"] > 0
    assert {path.name for path in bundle.iterdir()} == BUNDLE | {"saved_model"}
    check_with_plain_keras(bundle)


#: runs the second program of a bundle's README, which is about ONNX
LOAD_ONNX = """
import sys
readme = open("README.md", encoding="utf-8").read()
exec(readme.split("```python\\n")[2].partition("```")[0])
print([name for name in ("keras", "tensorflow", "lstm_sweep") if name in sys.modules])
"""


@pytest.mark.full
def test_onnx_files_are_written_beside_and_predict_the_same(swept: Swept, tmp_path: Path) -> None:
    trial, bundle, names = swept.trial("uni"), tmp_path / "bundle", ["model.onnx", "step.onnx"]
    done = swept.place.read("export", trial, "--to", bundle, "--format", "onnx", "--json")
    assert done.code == 0, done.err
    assert done.json["parity"] == {"max_difference": pytest.approx(0, abs=1e-4), "windows": 100}
    assert {path.name for path in bundle.iterdir()} == BUNDLE | {*names}
    files = done.json["files"]
    assert [*files] == ["model.keras", *names]
    readme = (bundle / "README.md").read_text(encoding="utf-8")
    for name, found in files.items():
        assert found["bytes"] == (bundle / name).stat().st_size
        assert 0 <= found["max_difference"] <= done.json["parity"]["max_difference"]
        assert f"| `{name}` | {found['bytes']:,} |" in readme
    loaded = run_command(sys.executable, "-I", "-c", LOAD_ONNX, cwd=bundle)
    assert loaded.code == 0, loaded
    *predictions, heavy = loaded.out.splitlines()
    assert (len(predictions), heavy) == (5, "[]")


def test_an_export_that_is_told_to_end_leaves_nothing(swept: Swept, tmp_path: Path) -> None:
    process = swept.place.start("export", "first", "--to", tmp_path / "best")
    wait_until(lambda: any(tmp_path.iterdir()), process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []
