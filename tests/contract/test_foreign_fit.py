"""What a template gives to `fit` and what that reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_sweep.search.values.trial import Ended, Outcome
from tests.contract.template_runs import ABOVE, epochs, run, written


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
    "callbacks",
    ["None", "[]", "keras.callbacks.EarlyStopping()", "(keras.callbacks.TerminateOnNaN(),)",
     "keras.callbacks.CallbackList(model=model, add_history=True, epochs=3, steps=1)"],
)  # fmt: skip
def test_a_fit_keeps_its_own_callbacks(callbacks: str, tmp_path: Path) -> None:
    body = f"""\
given = {callbacks}
model.fit(x, y, epochs=3, verbose=0, callbacks=given)
return 1.5"""
    messages = run(written(tmp_path, body), tmp_path)
    assert len(epochs(messages)) == 3
    assert messages[-1] == Ended(Outcome.COMPLETE, loss=1.5)


def test_arguments_of_fit_may_have_no_names(tmp_path: Path) -> None:
    body = "model.fit(x, y, 5, 2, 0, [keras.callbacks.TerminateOnNaN()])\nreturn 0.5"
    assert len(epochs(run(written(tmp_path, body), tmp_path))) == 2


def test_epochs_of_several_fits_are_counted_through(tmp_path: Path) -> None:
    body = "for _ in range(2):\n    model.fit(x, y, epochs=2, verbose=0)\nreturn 0.5"
    done = epochs(run(written(tmp_path, body), tmp_path))
    assert [(one.number, one.last) for one in done] == [
        (1, False), (2, True), (3, False), (4, True),
    ]  # fmt: skip


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
    ("a", "x, y", "a == (1, 2)"),
    ("a", "x", "a == 1"),
    ("a", "{'b': x}", "a == {'b': 1}"),
    ("a, b", "pair()", "(a, b) == (1, 2)"),
    ("x", "[x, y]", "x == 1"),
    ("both", "both", "both == [1, 2]"),
    # as with hyperas, where arguments are nothing and names are those in data()
    ("x, y", "x, y", "classes == 10 and system('x') == 0"),
    ("x, classes", "x, y", "(x, y, classes) == (1, 2, 10)"),
    ("X, Y", "x, y", "(X, Y) == (1, 2)"),
    ("classes, Y", "x, y", "(classes, Y) == (1, 2)"),
    ("a, y, b, x", "x, X, y, Y", "(x, X, y, Y) == (1, 3, 2, 4)"),
    ("A, Y, B, y", "x, X, y, Y", "(Y, y, X) == (4, 2, 3)"),
    ("a, b", "x, X, y, Y", "(x, X, y, Y) == (1, 3, 2, 4)"),
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
