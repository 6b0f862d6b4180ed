"""A hyperas template searched by the program: launched, killed, resumed, rerun, exported."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_sweep.search.store.settings import load
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import MlflowStore
from tests.cases import Place
from tests.conftest import Done, run_command, wait_until

TEMPLATES = Path(__file__).parents[1] / "templates"
FEW = ["--confirm-configs", "0", "--workers", "2"]
#: trainings that stand still after two epochs until a file is there, so that they can be killed
SLOW = """
import time
from pathlib import Path
import keras
import numpy as np

def data():
    return np.ones((20, 2)), np.ones(20)

def create_model(x, y):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense({{choice([1, 2, 3, 4])}}),
                              keras.layers.Dense(1)])
    model.compile('sgd', 'mse')

    def stand_still(epoch, logs):
        while epoch >= 2 and not Path(GO_ON).exists():
            time.sleep(0.1)

    still = keras.callbacks.LambdaCallback(on_epoch_begin=stand_still)
    done = model.fit(x, y, epochs=4, validation_data=(x, y), callbacks=[still], verbose=0)
    return {'loss': done.history['val_loss'][-1], 'status': 'ok', 'model': model}
"""
BROKEN = """
def data():
    return 1, 2

def create_model(x, y):
    units = {{choice([1, 2, 3])}}
    return helper(units)

def helper(units):
    raise RuntimeError(f'no {units} today')
"""
#: fits that are worse from trial to trial would be pruned; what is returned is another loss
SCALED = """
import keras
import numpy as np

def data():
    x = np.linspace(-1, 1, 40)[:, None]
    return x, 3 * x

def create_model(x, y):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD({{choice([1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1])}}), 'mse')
    model.fit(x, y, epochs=9, validation_data=(x, y), verbose=0)
    return {'loss': -1 / model.evaluate(x, y, verbose=0)}
"""


@pytest.fixture(scope="module")
def place(workplace: Callable[[str], Path]) -> Place:
    made = workplace("templates")
    for file in TEMPLATES.glob("*.py"):
        shutil.copy(file, made / file.name)
    slow = f"GO_ON = {str(made / 'go on')!r}\n{SLOW}"
    for name, text in (("slow", slow), ("broken", BROKEN), ("scaled", SCALED)):
        (made / f"{name}.py").write_text(text, encoding="utf-8")
    return Place(made)


@pytest.fixture(scope="module")
def swept(place: Place) -> Done:
    """A sweep with a ladder."""
    command = ["launch", "--template", "sequences.py", "--learning-rate-field", "rate"]
    done = place.read(*command, "--trials", "6", "--name", "waves", "--json", *FEW)
    assert done.code == 0, done
    return done


def client(place: Place) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{place.folder / 'mlflow.db'}")


def test_a_template_is_searched(place: Place, swept: Done) -> None:
    result = swept.json
    assert (result["state"], result["baselines"]) == ("finished", {})
    assert list(result["best"]["config"]) == ["LSTM:24", "Dropout:25", "rate:28"]
    assert result["best"]["bits_per_symbol"] is None
    rows = place.trials("waves")
    assert len(rows) == 6
    assert rows[0]["val_loss"] == result["best"]["val_loss"]
    phases = [row["phase"] for row in rows]
    # how many rates are tried depends on which of two workers is done first
    assert phases.count("ladder") >= 3 and phases.count("search") >= 1
    rates = {row["config"]["rate:28"] for row in rows if row["phase"] == "ladder"}
    assert rates <= {1.0, 0.1, 0.01, 0.001, 0.0001}
    assert "searched are LSTM (line 24), Dropout (line 25), rate (line 28)" in swept.err
    assert "ladder: " in swept.err


def test_its_runs_have_metrics_of_epochs_and_the_digest(place: Place, swept: Done) -> None:
    run = client(place).get_run(swept.json["best"]["run_id"])
    history = client(place).get_metric_history(run.info.run_id, "val_loss")
    assert [point.step for point in history] == [1, 2, 3]
    assert run.data.metrics["best_val_loss"] == swept.json["best"]["val_loss"]
    assert "bits_per_symbol" not in run.data.metrics
    about = json.loads(run.data.tags["sweep.template"])
    assert about["path"] == str(place.folder / "sequences.py")
    assert len(about["digest"]) == 16
    assert run.data.params["LSTM:24"] in ("8", "16")


def test_an_untouched_trial_of_a_template_reruns_identically(place: Place, swept: Done) -> None:
    done = place.read("rerun", swept.json["best"]["trial"], "--json").json
    assert (done["verdict"], done["epochs_compared"]) == ("identical", 3)


@pytest.mark.usefixtures("swept")
def test_a_template_is_run_again_by_who_has_run_it_or_names_it_as_it_was(
    place: Place, tmp_path: Path
) -> None:
    rerun, resume = ("rerun", "waves/0"), ("resume", "waves", "--trials", "10")
    assert "is about a template" in place.read(*rerun, "--set", "layers=2").refusal
    other = replace(place, environment={"XDG_STATE_HOME": str(tmp_path)})
    file = place.folder / "sequences.py"
    before = file.read_text(encoding="utf-8")
    file.write_text(before + "# more\n", encoding="utf-8")
    (place.folder / "elsewhere.py").write_text(before, encoding="utf-8")
    try:
        for command in (rerun, resume):
            assert "expected --template FILE.py, your own file" in other.read(*command).refusal
            refused = place.read(*command).refusal
            assert "sequences.py has changed since: found digest" in refused
            refused = place.read(*command, "--template", "dense.py").refusal
            assert "dense.py has changed since" in refused
        file.unlink()
        assert "no such file" in place.read(*rerun).refusal
        done = place.read(*rerun, "--template", "elsewhere.py", "--json")
        assert done.json["verdict"] == "identical"
    finally:
        file.write_text(before, encoding="utf-8")


#: loads a network without this program, asks a registered model, and prints what they answer
ASK = """
import sys
import keras, mlflow, numpy as np
model = keras.models.load_model(sys.argv[1] + "/model.keras")
print(model.predict(np.zeros((3, 12, 1)), verbose=0).shape)
mlflow.set_tracking_uri(sys.argv[2])
model = mlflow.pyfunc.load_model("models:/waves@champion")
print(np.asarray(model.predict(model.input_example)).shape, model.metadata.signature.inputs)
"""


@pytest.mark.full
def test_the_network_of_a_template_is_exported_registered_and_loaded_without_this_program(
    place: Place, swept: Done, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    done = place.read("export", "waves", "--to", bundle, "--register", "waves", "--json")
    assert done.code == 0, done.err
    assert done.json["parity"] == {"max_difference": pytest.approx(0, abs=1e-4), "windows": 32}
    assert done.json["loss"] == swept.json["best"]["val_loss"]
    assert done.json["model_version"]["uri"] == "models:/waves@champion"
    config = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
    assert config == swept.json["best"]["config"]
    uri = f"sqlite:///{place.folder / 'mlflow.db'}"
    asked = run_command(sys.executable, "-I", "-c", ASK, bundle, uri)
    assert asked.out.startswith("(3, 1)\n(1, 1) ") and "(-1, 12, 1)" in asked.out, asked
    refused = place.read("export", "waves", "--to", tmp_path / "o", "--format", "onnx").refusal
    assert "no ONNX files are written: expected --format keras or" in refused


def exported(place: Place, name: str, to: Path, *more: str) -> Done:
    """The export of the one trial of a template."""
    command = ["launch", "--template", f"{name}.py", "--trials", "1", "--name", name]
    assert place.read(*command, *FEW).code == 0
    return place.read("export", name, "--to", to, "--json", *more)


@pytest.mark.full
def test_a_network_with_several_inputs_and_outputs_is_exported(
    place: Place, tmp_path: Path
) -> None:
    done = exported(place, "several_sets", tmp_path / "bundle", "--format", "savedmodel")
    assert done.json["parity"] == {"max_difference": pytest.approx(0, abs=1e-4), "windows": 32}
    store = MlflowStore(load(place.folder, {}))
    store.log(place.trials("several_sets")[0]["run_id"], tags={Tag.INPUTS: ""})
    refused = place.read("export", "several_sets", "--to", tmp_path / "other").refusal
    assert "several_sets/0: the store has no inputs that its network was trained on" in refused


@pytest.mark.full
def test_a_network_with_layers_of_ones_own_is_handed_on(place: Place, tmp_path: Path) -> None:
    text = (place.folder / "memory.py").read_text(encoding="utf-8")
    options = "{{choice([Mean(), layers.GlobalMaxPooling1D(), layers.Flatten()])}}"
    assert options in text
    (place.folder / "mean.py").write_text(text.replace(options, "Mean()"), encoding="utf-8")
    refused = exported(place, "mean", tmp_path / "bundle").refusal
    assert "trial mean/0: " in refused and "expected --unchecked, to export it all" in refused
    assert list(tmp_path.iterdir()) == []
    given = ("export", "mean", "--to", tmp_path / "bundle", "--unchecked", "--json")
    parity = place.read(*given).json["parity"]
    assert (parity["windows"], parity["max_difference"]) == (0, None) and parity["not_loaded"]
    assert (tmp_path / "bundle" / "model.keras").exists()


def test_without_a_network_there_is_none_to_export(place: Place, tmp_path: Path) -> None:
    assert "scaled/0 has no weights" in exported(place, "scaled", tmp_path / "bundle").refusal


def test_an_error_of_a_template_has_its_line_and_its_traceback(place: Place) -> None:
    command = ["launch", "--template", "broken.py", "--trials", "2", "--name", "broken"]
    done = place.read(*command, *FEW)
    assert done.code == 1
    last = done.err.splitlines()[-1]
    assert last.startswith(
        "lstm-sweep: no trial of 'broken' has a result; `lstm-sweep trials broken`"
    )
    lines = [line for line in done.err.splitlines() if "broken/0 error" in line]
    assert len(lines) == 1
    assert ": broken.py:10: RuntimeError: no " in lines[0]
    [run] = [row["run_id"] for row in place.trials("broken") if row["trial"] == "broken/0"]
    log = Path(client(place).download_artifacts(run, "log.txt")).read_text(encoding="utf-8")
    assert 'broken.py", line 7, in create_model' in log
    assert "raise RuntimeError(f'no {units} today')" in log


@pytest.mark.full
def test_trials_that_fall_behind_are_ended_by_their_epochs(place: Place) -> None:
    command = ["launch", "--template", "scaled.py", "--trials", "6", "--name", "behind", "--json"]
    done = place.read(*command, *FEW, "--workers", "1")
    assert done.code == 0, done.err
    rows = place.trials("behind")
    assert {row["outcome"] for row in rows} == {"complete", "pruned"}
    for row in rows:
        assert (row["val_loss"] is None) == (row["outcome"] == "pruned")
    assert all(row["val_loss"] < 0 for row in rows if row["val_loss"] is not None)
    assert done.json["best"]["config"] == rows[0]["config"]
    losses = [row["val_loss"] for row in rows if row["val_loss"] is not None]
    assert losses == sorted(losses)


@pytest.mark.full
def test_a_killed_sweep_of_a_template_goes_on(place: Place) -> None:
    command = ["launch", "--template", "slow.py", "--trials", "3", "--name", "slow", "--json"]
    driver = place.start(*command, *FEW, "--halving", "off")
    try:
        wait_until(lambda: any(row["epochs"] >= 2 for row in place.trials("slow")), driver)
    finally:
        driver.kill()
        driver.wait()
    before = {row["trial"]: row["config"] for row in place.trials("slow")}
    stopped = place.read("stop", "slow", "--json")  # which does not need the file
    assert (stopped.code, stopped.json["state"]) == (0, "stopped")
    (place.folder / "go on").touch()
    done = place.read("resume", "slow", "--json")
    assert done.code == 0, done.err
    assert done.json["trials"] == {"complete": 3}
    rows = place.trials("slow")
    assert {row["attempt"] for row in rows} >= {2}
    assert before.items() <= {row["trial"]: row["config"] for row in rows}.items()
    assert len({json.dumps(row["config"]) for row in rows}) == 3
    assert np.isfinite([row["val_loss"] for row in rows]).all()
