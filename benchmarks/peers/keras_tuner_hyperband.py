"""KerasTuner's Hyperband.

A network that comes into the next round is a new trial to KerasTuner, with the same config, which
loads the weights of the old one and goes on.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import keras_tuner

from benchmarks.peers import common
from benchmarks.peers.common import ClassData, Data, Task

#: more than any budget allows: the search is ended from outside
MANY = 1_000_000


class Networks(keras_tuner.HyperModel):  # type: ignore[misc]
    """Networks and how they are trained, as KerasTuner asks for them."""

    def __init__(self, data: Data | ClassData) -> None:
        super().__init__()
        self._data = data
        self._numbers = itertools.count()

    def build(self, hp: Any) -> Any:
        """Build and compile the network of a point of the space."""
        return self._data.build(self._config(hp))

    def fit(self, hp: Any, model: Any, *, callbacks: list[Any], **options: Any) -> dict[str, float]:
        """Train a network; return its best loss.

        KerasTuner's own callbacks come last, since they look for the score in the logs.
        """
        config, number = self._config(hp), next(self._numbers)
        losses = common.train(config, self._data, number, callbacks, model, **options)
        if math.isnan(loss := common.best(losses)):
            raise keras_tuner.errors.FailedTrialError("the loss is not a number")
        return {"val_score": loss}

    def _config(self, hp: Any) -> dict[str, Any]:
        return common.drawn(
            self._data.task.space,
            lambda name, of: hp.Choice(name, list(of)),
            lambda name, of: hp.Float(name, of.low, of.high),
            # there are no steps on a log scale, so numbers are rounded here
            lambda name, of: of.stepped(hp.Int(name, of.low, of.high, sampling="log")),
        )


def search(task: Task) -> None:
    """Search with KerasTuner in one process, one trial after the other."""
    common.prepare(task.seed)
    tuner = keras_tuner.Hyperband(
        Networks(Data.load(task)),
        objective=keras_tuner.Objective("val_score", "min"),
        max_epochs=common.EPOCHS,
        factor=3,
        hyperband_iterations=MANY,
        seed=task.seed,
        max_consecutive_failed_trials=MANY,  # three in a row would end the search
        directory=str(task.folder),
        project_name="search",
        overwrite=True,
    )
    tuner.search(verbose=0)


if __name__ == "__main__":
    common.main(search)
