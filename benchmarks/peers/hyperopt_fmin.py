"""Hyperopt's `fmin` with TPE, plain Keras, and MLflow with a nested run for each trial."""

from __future__ import annotations

import itertools
import math
from typing import Any

import hyperopt
import keras
import mlflow
import numpy as np
from hyperopt import hp

from benchmarks.peers import common
from benchmarks.peers.common import Data, Task

#: more than any budget allows: the search is ended from outside
MANY = 1_000_000


def search(task: Task) -> None:
    """Search with Hyperopt in one process, one trial after the other."""
    common.prepare(task.seed)
    data = Data.load(task)
    numbers = itertools.count()
    mlflow.set_tracking_uri(f"sqlite:///{task.folder / 'mlflow.db'}")
    mlflow.set_experiment("hyperopt")

    def objective(drawn: dict[str, Any]) -> dict[str, Any]:
        config = drawn | {
            "layer_size": int(drawn["layer_size"]),
            "sequence_length": int(drawn["sequence_length"]),
        }
        with mlflow.start_run(nested=True):
            mlflow.log_params(config)
            loss = _train(config, data, next(numbers))
            # MLflow's tutorial stores the model of each trial too, which takes some seconds
        if math.isnan(loss):
            return {"status": hyperopt.STATUS_FAIL}
        return {"loss": loss, "status": hyperopt.STATUS_OK}

    with mlflow.start_run(run_name="search"):
        hyperopt.fmin(
            objective,
            _space(task),
            algo=hyperopt.tpe.suggest,
            max_evals=MANY,
            trials=hyperopt.Trials(),
            rstate=np.random.default_rng(task.seed),
            show_progressbar=False,
        )


def _space(task: Task) -> dict[str, Any]:
    return {
        "direction": hp.choice("direction", task.directions),
        "learning_rate": hp.choice("learning_rate", common.LEARNING_RATES),
        "dropout": hp.uniform("dropout", *common.DROPOUT),
        "layers": hp.choice("layers", common.LAYERS),
        "layer_size": _logarithmic("layer_size", common.LAYER_SIZE),
        "sequence_length": _logarithmic("sequence_length", common.SEQUENCE_LENGTH),
        "batch_size": hp.choice("batch_size", common.BATCH_SIZES),
    }


def _logarithmic(name: str, ends: tuple[int, int, int]) -> Any:
    low, high, step = ends
    return hp.qloguniform(name, math.log(low), math.log(high), step)


def _train(config: dict[str, Any], data: Data, number: int) -> float:
    keras.utils.clear_session()
    model = common.build(config, len(data.corpus.alphabet))
    log = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: mlflow.log_metrics(logs, step=epoch)
    )
    return common.best(common.train(model, config, data, number, [log]))


if __name__ == "__main__":
    common.main(search)
