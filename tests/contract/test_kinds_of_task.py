"""Sweeps of a template, of a corpus, and of a template again, in one process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import outside, write_text

#: uses what the Keras of networks of ours does without
TEMPLATE = """
import keras, numpy as np, pandas
from keras.wrappers import SKLearnRegressor

def data():
    x = np.random.default_rng(0).random((64, 4)).astype("float32")
    return pandas.DataFrame(x), pandas.Series(x.sum(1))

def create_model(x_train, y_train):
    def made(X, y):
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        return model
    SKLearnRegressor(made, fit_kwargs={"epochs": 1, "verbose": 0}).fit(x_train.to_numpy(), y_train)
    model = made(None, None)
    model.fit(x_train, y_train, epochs={{choice([1, 2])}}, verbose=0)
    return {"loss": float(model.evaluate(x_train, y_train, verbose=0)), "status": "ok"}
"""
SCRIPT = """
import sys
import lstm_sweep as ls

def corpus():
    space = {"layer_size": [16], "sequence_length": [10], "epochs": [1]}
    sweep = ls.launch(data="words.txt", name="corpus", trials=2, ladder=False, space=space,
                      size_rule="off", confirm_configs=0, progress=False)
    assert set(sweep.trials()["outcome"]) == {"complete"}, sweep.trials()

def template():
    sweep = ls.launch(template="t.py", trials=2, confirm_configs=0,
                      progress=False)
    assert set(sweep.trials()["outcome"]) == {"complete"}, sweep.trials()["reason"].tolist()

def export():
    model = ls.sweep("corpus").best.export("best")
    assert "".join(model.generate("the ", length=5))

for name in sys.argv[1:]:
    globals()[name]()
print("done")
"""


@pytest.mark.full
def test_each_kind_of_task_works_after_each_other_one(tmp_path: Path) -> None:
    write_text(tmp_path / "words.txt")
    (tmp_path / "t.py").write_text(TEMPLATE)
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py", "template", "corpus", "export", "template"],
        cwd=tmp_path, env=outside(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.endswith("done\n"), done.stderr


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
    done = subprocess.run(
        [sys.executable, "calls.py", *order],
        cwd=tmp_path, env=outside(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == str([one == "template" for one in order]), done.stderr
