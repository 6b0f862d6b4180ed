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
from benchmarks.peers.common import ClassData, Data, Ends, Task

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
        whole = (name for name, of in task.space.items() if isinstance(of, Ends) and of.step)
        config = drawn | {name: int(drawn[name]) for name in whole}
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
            common.drawn(
                task.space,
                hp.choice,
                lambda name, of: hp.uniform(name, of.low, of.high),
                lambda name, of: hp.qloguniform(name, math.log(of.low), math.log(of.high), of.step),
            ),
            algo=hyperopt.tpe.suggest,
            max_evals=MANY,
            trials=hyperopt.Trials(),
            rstate=np.random.default_rng(task.seed),
            show_progressbar=False,
        )


def _train(config: dict[str, Any], data: Data | ClassData, number: int) -> float:
    keras.utils.clear_session()
    log = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: mlflow.log_metrics(logs, step=epoch)
    )
    return common.best(common.train(config, data, number, [log]))


if __name__ == "__main__":
    common.main(search)
