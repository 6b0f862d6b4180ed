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
from lstm_sweep.models.rounds import RoundDone
from lstm_sweep.search.engines import worker
from lstm_sweep.search.engines.worker import TemplateTraining
from lstm_sweep.search.values.trial import Ended, Job, Message, Outcome, Slot, Trial
from lstm_sweep.spaces.template.template import Template
from tests.conftest import in_full

DATA = "import numpy as np\ndef data():\n    return np.ones((20, 3)), np.ones(20)\n"
#: what stands above a template of few lines: 12 lines
ABOVE = f"""{DATA}
import keras
def net(**compiled):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(**{{'optimizer': 'sgd', 'loss': 'mse', **compiled}})
    return model
def create_model(x, y):
    units = {{{{choice([1, 2])}}}}
    model = net()
"""


def job_of(template: Template, folder: Path, seed: int = 1) -> Job:
    config = template.space().middle()
    trial = Trial(sweep="s", number=0, config=config, seed=seed)
    return Job(trial=trial, slot=Slot(0), training=TemplateTraining(template), folder=folder)


def run(template: Template, folder: Path) -> list[Message]:
    return list(worker.run(job_of(template, folder)))


def written(folder: Path, body: str, above: str = ABOVE) -> Template:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    (folder / "mine.py").write_text(above + lines, encoding="utf-8")
    return Template.read(str(folder / "mine.py"))


def epochs(messages: list[Message]) -> list[RoundDone]:
    return [message for message in messages if isinstance(message, RoundDone)]


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
from tests.contract.test_foreign import job_of
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


def test_what_is_no_number_of_what_fit_reports_is_left_out(tmp_path: Path) -> None:
    body = """\
from decimal import Decimal
odd = {'val_loss': np.inf, 'val_nan': np.nan, 'half': Decimal('0.5'), 'yes': np.bool_(True),
       'several': np.ones(3), 'text': '1.5', 'nothing': None, 'complex': 1j, 'large': 10 ** 400,
       'ragged': [[1], [2, 3]], 'acc@5 (%)': 1, 'a//b/../c/': 2, 7: 3, 'x' * 300: 4}
tell = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(odd))
model.fit(x, y, epochs=1, verbose=0, callbacks=[tell])
return 1.5"""
    messages = run(written(tmp_path, body), tmp_path)
    assert messages[-1] == Ended(Outcome.COMPLETE, loss=1.5)
    [done] = epochs(messages)
    found = {name: value for name, value in done.metrics.items() if value == value}
    assert set(done.metrics) - set(found) == {"val_nan"}
    assert found.pop("round_seconds") > 0 and found.pop("train_loss") > 0
    assert found == {
        "val_loss": np.inf, "train_half": 0.5, "train_yes": 1, "train_acc_5 ___": 1,
        "train_a_/b_../c_": 2, "train_7": 3, f"train_{'x' * 200}": 4,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fits", "last"),
    [
        ("model.fit(x, y, epochs=3, verbose=0, callbacks=None)", [3]),
        # with callbacks of its own
        ("own = (keras.callbacks.TerminateOnNaN(),)\n"
         "model.fit(x, y, epochs=3, verbose=0, callbacks=own)", [3]),
        ("own = keras.callbacks.CallbackList(model=model, add_history=True, epochs=3, steps=1)\n"
         "model.fit(x, y, epochs=3, verbose=0, callbacks=own)", [3]),
        # without names of arguments
        ("model.fit(x, y, 5, 2, 0, [keras.callbacks.TerminateOnNaN()])", [2]),
        # epochs of several are counted through
        ("for _ in range(2):\n    model.fit(x, y, epochs=2, verbose=0)", [2, 4]),
    ],
)  # fmt: skip
def test_each_epoch_of_all_fits_is_reported(fits: str, last: list[int], tmp_path: Path) -> None:
    messages = run(written(tmp_path, f"{fits}\nreturn 1.5"), tmp_path)
    done = epochs(messages)
    assert [one.number for one in done] == list(range(1, last[-1] + 1))
    assert [one.number for one in done if one.last] == last
    assert messages[-1] == Ended(Outcome.COMPLETE, loss=1.5)


BINDINGS: list[tuple[str, str, str]] = [
    # arguments of create_model, what data() returns, and what must be so
    ("a, b", "x, y", "(a, b) == (1, 2)"),
    ("y, x", "x, y", "(x, y) == (1, 2)"),
    ("a, b", "[x, y]", "(a, b) == (1, 2)"),
    ("x, y", "{'y': 2, 'x': 1}", "(x, y) == (1, 2)"),
    ("y", "x, y", "y == 2"),
    ("", "x, y", "(x, y) == (1, 2)"),
    ("a, b=3", "x, y", "(a, b) == (1, 2)"),
    ("x, b=3", "x, y", "(x, b, y) == (1, 3, 2)"),
    ("*given", "x, y", "given == (1, 2)"),
    ("a", "x", "a == 1"),
    ("a, b", "pair()", "(a, b) == (1, 2)"),
    ("x", "[x, y]", "x == 1"),
    ("both", "both", "both == [1, 2]"),
    # as with hyperas, where names are those in data()
    ("x, y", "x, y", "classes == 10 and system('x') == 0"),
    ("a, b, c, d", "x, X, y, Y", "(a, b, c, d) == (1, 3, 2, 4)"),
    ("", "x, y", "(already, helper(), len('ab')) == (7, 5, 2)"),
]


@pytest.mark.parametrize(("arguments", "given", "so"), BINDINGS)
def test_data_reach_the_model_by_position_or_by_name(
    arguments: str, given: str, so: str, tmp_path: Path
) -> None:
    above = f"""\
x, already = [], 7
def pair():
    return 1, 2
def helper():
    return 5
def data():
    from os import system
    x, y = pair()
    X, Y, classes = 3, 4, 10
    already = helper = len = 6
    both = [x, y]
    system = [one for one in [lambda text: 0]][0]
    return {given}
def create_model({arguments}):
    loss = {{{{choice([0, 1])}}}}
"""
    ended = run(written(tmp_path, f"assert {so}\nreturn 0.5", above), tmp_path)[-1]
    assert ended == Ended(Outcome.COMPLETE, loss=0.5)


def test_data_that_do_not_fit_are_named(tmp_path: Path) -> None:
    above = "def data():\n    return tuple(range(3))\ndef create_model(a, b):\n"
    ended = run(written(tmp_path, "return {{choice([1, 2])}}", above), tmp_path)[-1]
    assert isinstance(ended, Ended)
    assert "data returned 3 values, expected what create_model takes" in ended.reason


def test_fit_is_what_it_was_afterwards(tmp_path: Path) -> None:
    import keras

    before: Any = keras.Model.fit
    run(written(tmp_path, "model.fit(x, y, verbose=0)\nreturn 1.0"), tmp_path)
    assert keras.Model.fit is before


def test_a_training_step_may_report_losses_of_its_own(tmp_path: Path) -> None:
    body = """\
class Pair(keras.Model):
    def train_step(self, given):
        time.sleep(0.2)
        return {'d_loss': 0.25, 'g_loss': 0.5, 'each': np.ones(3)}
model = Pair()
model.compile(run_eagerly=True)
model.fit(x, y, batch_size=5, epochs=1, verbose=0)
return 1.0"""
    template = written(tmp_path, body, f"import time\n{ABOVE}")
    messages = run(template, tmp_path)
    assert messages[-1] == Ended(Outcome.COMPLETE, loss=1.0)
    [done] = epochs(messages)
    assert set(done.metrics) == {"train_d_loss", "train_g_loss", "round_seconds"}
