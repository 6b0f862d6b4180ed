"""Chooses the implementation of a trial's computations for this process's backend and device.

With TensorFlow, one call of `train` runs many steps in one graph (`models/cpu/programs.py`).
With another backend of Keras, steps are taken one by one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import override

from lstm_sweep.models import backend
from lstm_sweep.models.classes import averaged
from lstm_sweep.models.config import ClassConfig, TrialConfig
from lstm_sweep.models.cpu import optimizer
from lstm_sweep.models.cpu.graph_cache import GraphCache
from lstm_sweep.models.cpu.program_types import (
    Codes,
    Float32s,
    Networks,
    Program,
    States,
    Stream,
)
from lstm_sweep.models.cpu.programs import FastClassProgram, FastProgram, KerasProgram
from lstm_sweep.models.data.windows import Indices, StepWindows


def program_of(
    networks: Networks, config: TrialConfig, seed: int, graphs: Path | None = None
) -> Program:
    """Return the program of networks that are compiled for training.

    `seed` is that of the dropout masks. `graphs` is the folder of the graph cache
    (`models/cpu/graph_cache.py`); without one, every graph is traced.
    """
    if networks.members:
        return AveragedProgram(networks, config)
    if not backend.is_tensorflow():
        return StepwiseProgram(networks, config)
    if not backend.own_arithmetic():
        return KerasProgram(networks, config)
    kind = FastClassProgram if isinstance(config, ClassConfig) else FastProgram
    return kind(networks, config, seed, GraphCache(graphs))


class StepwiseProgram(Program):
    """One call of `train_on_batch` for each step; works with every backend of Keras."""

    def __init__(self, networks: Networks, config: TrialConfig) -> None:
        self._networks = networks
        self._every_step, self.streams = config.direction == "uni", config.carried

    @override
    def train(self, steps: Any) -> tuple[Float32s, Float32s]:
        model, losses, weights = self._networks.trained, list[float](), list[float]()
        of_windows = isinstance(steps, StepWindows)
        for batch in steps.batches(**{"every_step": self._every_step} if of_windows else {}):
            model.reset_metrics()
            loss = model.train_on_batch(batch.inputs, batch.targets, sample_weight=batch.weights)
            losses.append(float(loss))
            weights.append(float(batch.weights.sum()))
            self._average()
        return np.array(losses, np.float32), np.array(weights, np.float32)

    def _average(self) -> None:
        model, averages = self._networks.trained, self._networks.averages
        step = int(model.optimizer.iterations)
        if averages and step and optimizer.is_due(step):
            share = optimizer.share(step)
            for average, weight in zip(averages, model.trainable_variables, strict=True):
                average.assign_add(share * (weight - average))

    @override
    def sync(self) -> None:
        self._networks.sync()

    @override
    def logits(self, *inputs: Codes) -> Float32s:
        given = inputs[0] if len(inputs) == 1 else [*inputs]
        return np.asarray(self._networks.scored.predict_on_batch(given))

    @override
    def last_logits(self, windows: Codes, count: int) -> Float32s:
        return np.asarray(self._networks.every_step.predict_on_batch(windows))[:, -count:]

    @override
    def stream(self, codes: Codes, places: Indices, states: States | None) -> Stream:
        streamed = self._networks.streamed
        if states is None:
            inputs = streamed.inputs[1:]
            states = [np.zeros((len(codes), one.shape[-1]), np.float32) for one in inputs]
        logits, *after = streamed.predict_on_batch([codes, *states])
        step, row = np.divmod(places, len(codes))
        return np.asarray(logits)[row, step], after


class AveragedProgram(StepwiseProgram):
    """Classifiers whose probabilities are averaged, each computed on its own."""

    def __init__(self, networks: Networks, config: TrialConfig) -> None:
        super().__init__(networks, config)
        self._members = [program_of(*member, seed=0) for member in networks.members]

    @override
    def logits(self, *inputs: Codes) -> Float32s:
        return averaged([one.logits(*inputs) for one in self._members]).astype(np.float32)
