"""Chooses the implementation of a trial's computations for this process's backend and device.

With TensorFlow, one call of `train` runs many steps in one graph (`models/fast/training_loop.py`).
With another backend of Keras, steps are taken one by one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from lstm_sweep.models import backend
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.windows import StepWindows
from lstm_sweep.models.fast.program_types import Float32s, Networks, Program


def program_of(
    networks: Networks, config: TrialConfig, seed: int, graphs: Path | None = None
) -> Program:
    """Return the program of networks that are compiled for training.

    `seed` is that of the dropout masks. `graphs` is the folder of the graph cache
    (`models/fast/graph_cache.py`); without one, every graph is traced.
    """
    if not backend.is_tensorflow():
        return StepwiseProgram(networks, config)
    from lstm_sweep.models.fast import training_loop
    from lstm_sweep.models.fast.graph_cache import GraphCache

    if backend.own_arithmetic():
        return training_loop.FastProgram(networks, config, seed, GraphCache(graphs))
    return training_loop.KerasProgram(networks, config)


class StepwiseProgram(Program):
    """One call of `train_on_batch` for each step; works with every backend of Keras."""

    def __init__(self, networks: Networks, config: TrialConfig) -> None:
        self._networks, self._every_step = networks, config.direction == "uni"

    @override
    def train(self, windows: StepWindows) -> tuple[Float32s, Float32s]:
        model, losses, weights = self._networks.trained, list[float](), list[float]()
        for batch in windows.batches(every_step=self._every_step):
            model.reset_metrics()
            loss = model.train_on_batch(batch.inputs, batch.targets, sample_weight=batch.weights)
            losses.append(float(loss))
            weights.append(float(batch.weights.sum()))
        return np.array(losses, np.float32), np.array(weights, np.float32)

    @override
    def logits(self, windows: NDArray[np.int32]) -> Float32s:
        return np.asarray(self._networks.scored.predict_on_batch(windows))

    @override
    def sync(self) -> None:
        self._networks.sync()
