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
from benchmarks.peers.common import Data, Task

#: more than any budget allows: the search is ended from outside
MANY = 1_000_000


class NextSymbol(keras_tuner.HyperModel):  # type: ignore[misc]
    """Networks and how they are trained, as KerasTuner asks for them."""

    def __init__(self, data: Data) -> None:
        super().__init__()
        self._data = data
        self._numbers = itertools.count()

    def build(self, hp: Any) -> Any:
        """Build and compile the network of a point of the space."""
        return common.build(self._config(hp), len(self._data.corpus.alphabet))

    def fit(self, hp: Any, model: Any, *, callbacks: list[Any], **options: Any) -> dict[str, float]:
        """Train a network; return its best loss.

        KerasTuner's own callbacks come last, since they look for the score in the logs.
        """
        config = self._config(hp)
        number = next(self._numbers)
        losses = common.train(model, config, self._data, number, callbacks, **options)
        if math.isnan(loss := common.best(losses)):
            raise keras_tuner.errors.FailedTrialError("the loss is not a number")
        return {"val_score": loss}

    def _config(self, hp: Any) -> dict[str, Any]:
        """Draw a config. There are no steps on a log scale, so numbers are rounded here."""
        return {
            "direction": hp.Choice("direction", list(self._data.task.directions)),
            "learning_rate": hp.Choice("learning_rate", list(common.LEARNING_RATES)),
            "dropout": hp.Float("dropout", *common.DROPOUT),
            "layers": hp.Choice("layers", list(common.LAYERS)),
            "layer_size": _logarithmic(hp, "layer_size", common.LAYER_SIZE),
            "sequence_length": _logarithmic(hp, "sequence_length", common.SEQUENCE_LENGTH),
            "batch_size": hp.Choice("batch_size", list(common.BATCH_SIZES)),
        }


def _logarithmic(hp: Any, name: str, ends: tuple[int, int, int]) -> int:
    low, high, _ = ends
    return common.stepped(hp.Int(name, low, high, sampling="log"), ends)


def search(task: Task) -> None:
    """Search with KerasTuner in one process, one trial after the other."""
    common.prepare(task.seed)
    tuner = keras_tuner.Hyperband(
        NextSymbol(Data.load(task)),
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
