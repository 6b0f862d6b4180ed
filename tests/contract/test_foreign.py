"""Templates run as a worker runs them, in this process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_sweep.models.bundle.bundle import inputs_of
from lstm_sweep.search.engines import worker
from lstm_sweep.search.values.trial import Ended, Outcome, RoundDone
from lstm_sweep.spaces.template.template import Template
from tests.conftest import in_full
from tests.contract.template_runs import ABOVE, DATA, epochs, job_of, run, written

EXAMPLES = sorted((Path(__file__).parents[1] / "templates").glob("*.py"))
#: those that are run twice: recurrent, convolutional, several inputs
REPEATED = {"sequences", "convolutional", "several_sets"}
#: those that `make test` runs
FEW = {"sequences", "functional"}


@pytest.mark.parametrize(
    "file",
    [file if file.stem in FEW else in_full(file)[0] for file in EXAMPLES],
    ids=lambda file: file.stem,
)
def test_the_examples_run_and_repeat(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    template = Template.read(str(file))
    messages = run(template, tmp_path)
    ended = messages[-1]
    assert isinstance(ended, Ended)
    assert (ended.outcome, ended.reason) == (Outcome.COMPLETE, "")
    assert ended.loss is not None and np.isfinite(ended.loss)
    done = epochs(messages)
    assert [one.number for one in done] == list(range(1, len(done) + 1))
    assert done[-1].last
    assert all({"train_loss", "round_seconds"} <= set(one.metrics) for one in done)
    returns_model = "'model': model" in template.source
    assert (tmp_path / "model.keras").exists() == returns_model
    assert (tmp_path / "inputs.npz").exists() == returns_model
    if file.stem in REPEATED:
        again = run(template, tmp_path)[-1]
        assert isinstance(again, Ended) and again.loss == ended.loss


@pytest.mark.parametrize(
    ("body", "outcome", "named"),
    [
        ("raise KeyError('no such thing')", Outcome.ERROR, ["mine.py:13: KeyError: 'no such"]),
        ("model.fit(x, y[:3], verbose=0)", Outcome.ERROR, ["mine.py:13: ValueError: "]),
        ("net(optimizer='sdg')", Outcome.ERROR, ["mine.py:8: ValueError: "]),
        ("import nowhere", Outcome.ERROR, ["mine.py:13: ModuleNotFoundError: ", "'nowhere'"]),
        ("import sys\nsys.exit(3)", Outcome.ERROR, ["ended the program, expected a return"]),
        ("return {'status': 'fail'}", Outcome.ERROR, ["returned status 'fail'"]),
        ("return {'loss': 3, 'status': 'fail'}", Outcome.ERROR, ["returned status 'fail'"]),
        ("return {'loss': float('nan')}", Outcome.DIVERGED, ["a loss of nan"]),
        ("return float('inf')", Outcome.DIVERGED, ["a loss of inf"]),
        ("return None", Outcome.ERROR, ["create_model returned None", "expected {'loss': "]),
        ("return {'los': 3}", Outcome.ERROR, ["create_model returned keys los", "{'loss': "]),
        ("return {'loss': [1, 2]}", Outcome.ERROR, ["returned keys loss", "{'loss': a number"]),
        ("raise MemoryError", Outcome.OUT_OF_MEMORY, ["memory of the host", "mine.py:13"]),
        ("net(optimizer=keras.optimizers.SGD(1e30)).fit(x, y, epochs=9, verbose=0)",
         Outcome.DIVERGED, ["epoch ", "the training loss is "]),
    ],
)  # fmt: skip
def test_an_end_that_is_none_has_its_reason(
    body: str, outcome: Outcome, named: list[str], tmp_path: Path
) -> None:
    ended = run(written(tmp_path, body), tmp_path)[-1]
    assert isinstance(ended, Ended)
    assert (ended.outcome, ended.loss) == (outcome, None)
    assert len(ended.reason.splitlines()) == 1
    for part in named:
        assert part in ended.reason


def test_the_lines_of_a_traceback_are_those_that_ran(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    template = written(tmp_path, "raise KeyError  # as it was")
    (tmp_path / "mine.py").write_text("changed since\n" * 20, encoding="utf-8")
    run(template, tmp_path)
    assert f'File "{tmp_path / "mine.py"}", line 13' in capsys.readouterr().err


def test_files_beside_a_template_can_be_imported(tmp_path: Path) -> None:
    (tmp_path / "beside_it.py").write_text("half = 0.5\n", encoding="utf-8")
    body = "from beside_it import half\nreturn half"
    assert run(written(tmp_path, body), tmp_path)[-1] == Ended(Outcome.COMPLETE, loss=0.5)


def test_a_helper_may_be_called_like_a_module_that_is_not_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "sched", raising=False)
    (tmp_path / "sched.py").write_text("units = 3\n")
    ended = run(written(tmp_path, "from sched import units\nreturn units"), tmp_path)[-1]
    del sys.modules["sched"]
    assert ended == Ended(Outcome.COMPLETE, loss=3)


@pytest.mark.parametrize("name", ["queue", "token"])
def test_a_helper_called_like_a_module_in_use_is_refused_in_a_line(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / f"{name}.py").write_text("units = 3\n")
    template = written(tmp_path, f"from {name} import units\nreturn units")
    ended = run(template, tmp_path)[-1]
    assert isinstance(ended, Ended) and ended.outcome is Outcome.ERROR
    assert f"it imports '{name}', of which there are two: {tmp_path / name}.py" in ended.reason


def test_inputs_may_have_the_names_of_any_argument(tmp_path: Path) -> None:
    body = """import numpy as np
inputs = {name: keras.Input((4,), name=name) for name in ("file", "allow_pickle")}
model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Add()([*inputs.values()])))
model.compile("sgd", "mse")
given = {name: np.zeros((8, 4), "float32") for name in inputs}
model.fit(given, np.zeros((8, 1)), verbose=0)
return {"loss": 1.0, "status": "ok", "model": model}"""
    ended = run(written(tmp_path, body), tmp_path)[-1]
    assert isinstance(ended, Ended) and (ended.outcome, ended.reason) == (Outcome.COMPLETE, "")
    model = keras_model(tmp_path / "model.keras")
    assert [rows.shape for rows in inputs_of(model, tmp_path / "inputs.npz")] == [(8, 4)] * 2


def keras_model(file: Path) -> Any:
    import keras

    return keras.models.load_model(file)


def test_dataclasses_of_a_template_work(tmp_path: Path) -> None:
    above = f"""\
from __future__ import annotations
from dataclasses import dataclass
@dataclass
class Sizes:
    one: int = 1
{DATA}
def create_model(x, y):
    units = {{{{choice([1, 2])}}}}
"""
    template = written(tmp_path, "return Sizes().one", above)
    assert run(template, tmp_path)[-1] == Ended(Outcome.COMPLETE, loss=1.0)


def test_a_network_that_cannot_be_written_is_let_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = """\
def fail(*arguments):
    raise TypeError('not this one')
model.save = fail
return {'loss': 1.0, 'model': model}"""
    assert run(written(tmp_path, body), tmp_path)[-1] == Ended(Outcome.COMPLETE, loss=1.0)
    assert not (tmp_path / "model.keras").exists()
    assert "the network is not kept: TypeError: not this one" in capsys.readouterr().err


def test_what_a_template_prints_is_no_output_of_the_program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(written(tmp_path, "print('hello')\nmodel.fit(x, y, verbose=2)\nreturn 1.0"), tmp_path)
    out, err = capsys.readouterr()
    assert out == ""
    assert "hello" in err and "loss:" in err


def test_a_template_stands_still_until_it_is_asked_and_ends_when_nobody_asks(
    tmp_path: Path,
) -> None:
    body = f"""\
for number in range(100):
    model.fit(x, y, verbose=0)
    open({str(tmp_path / "seen")!r}, 'a').write('.')
return 1.0"""
    messages = worker.run(job_of(written(tmp_path, body), tmp_path))
    for _ in range(3):
        while not isinstance(next(messages), RoundDone):
            pass
    messages.close()  # type: ignore[attr-defined]
    assert (tmp_path / "seen").read_text() == ".."


def test_a_trial_loads_what_it_has_saved_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = """\
model.save('there/best.keras')
model.save_weights('w.weights.h5')
net().save(OTHER / 'best.keras')  # meanwhile, another trial
net().save_weights(OTHER / '../w.weights.h5')
again = load_model('there/best.keras')
assert (again.layers[0].kernel.numpy() == model.layers[0].kernel.numpy()).all()
other = net()
other.load_weights('w.weights.h5')
assert (other.layers[0].kernel.numpy() == model.layers[0].kernel.numpy()).all()
other.load_weights('mine.weights.h5')
return 1.0"""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "trial"
    folder.mkdir()
    above = f"from pathlib import Path\nfrom keras.models import load_model\nimport keras\n{ABOVE}"
    above = above.replace("import keras\n", f"OTHER = Path({str(tmp_path / 'there')!r})\n", 1)
    first = written(tmp_path, "model.save_weights('mine.weights.h5')\nreturn 1.0")
    assert run(first, folder)[-1] == Ended(Outcome.COMPLETE, loss=1.0)
    assert (tmp_path / "mine.weights.h5").exists()
    assert run(written(tmp_path, body, above), folder)[-1] == Ended(Outcome.COMPLETE, loss=1.0)
    assert (tmp_path / "there" / "best.keras").exists()
    assert list(folder.iterdir()) == []


IN_A_WORKER = """
import sys
from pathlib import Path
from tests.contract.template_runs import job_of
from lstm_sweep.search.engines import worker
from lstm_sweep.spaces.template.template import Template
folder = Path(sys.argv[1])
print(list(worker.run(job_of(Template.read(str(folder / "mine.py")), folder)))[-1])
"""


@pytest.mark.full
def test_a_template_may_set_up_tensorflow(tmp_path: Path) -> None:
    """Which can be done only before it has computed anything."""
    above = (
        f"import tensorflow as tf\ntf.config.threading.set_intra_op_parallelism_threads(2)\n{ABOVE}"
    )
    written(tmp_path, "model.fit(x, y, verbose=0)\nreturn {'loss': 0.5, 'status': 'ok'}", above)
    command = [sys.executable, "-c", IN_A_WORKER, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert "COMPLETE" in done.stdout, done.stderr
