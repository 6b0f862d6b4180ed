"""Ray Tune with Hyperopt's TPE and ASHA, a function for a trial, actors used again."""

from __future__ import annotations

import math
from typing import Any

import keras
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.hyperopt import HyperOptSearch

from benchmarks.peers import common
from benchmarks.peers.common import ClassData, Data, Task


def search(task: Task) -> None:
    """Search with Ray Tune, one CPU for a trial."""
    ray.init(num_cpus=task.workers, include_dashboard=False)
    function = tune.with_parameters(train, data=Data.load(task))
    tuner = tune.Tuner(
        tune.with_resources(function, {"cpu": 1}),
        param_space=common.drawn(
            task.space,
            lambda name, of: tune.choice(of),
            lambda name, of: tune.uniform(of.low, of.high),
            lambda name, of: tune.qlograndint(of.low, of.high, of.step),
        ),
        tune_config=tune.TuneConfig(
            metric="val_score",
            mode="min",
            search_alg=HyperOptSearch(random_state_seed=task.seed),
            scheduler=ASHAScheduler(max_t=common.EPOCHS, grace_period=1, reduction_factor=3),
            num_samples=-1,
            max_concurrent_trials=task.workers,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(name="search", storage_path=str(task.folder), verbose=0),
    )
    tuner.fit()


def train(config: dict[str, Any], data: Data | ClassData) -> None:
    """Train one trial in an actor; Ray ends it from `report` when ASHA says so."""
    common.prepare(data.task.seed, threads=1)
    keras.utils.clear_session()
    reporting = keras.callbacks.LambdaCallback(on_epoch_end=_report)
    common.train(config, data, tune.get_context().get_trial_id(), [reporting])


def _report(epoch: int, logs: dict[str, float]) -> None:
    if math.isnan(logs["val_score"]):
        raise ValueError("the loss is not a number")  # the trial fails, the search goes on
    tune.report({"val_score": logs["val_score"]})


if __name__ == "__main__":
    common.main(search)
