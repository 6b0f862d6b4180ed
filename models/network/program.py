"""Chooses the implementation of a trial's computations for this process's backend and device.

With TensorFlow, one call of `train` runs many steps in one graph (`models/cpu/programs.py`).
With another backend of Keras, steps are taken one by one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from lstm_sweep.models import backend
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.cpu import optimizer, programs
from lstm_sweep.models.cpu.graph_cache import GraphCache
from lstm_sweep.models.cpu.program_types import (
    Float32s,
    Networks,
    Predictor,
    Program,
    States,
    StepProgram,
    Stream,
    StreamProgram,
    WindowReader,
)
from lstm_sweep.models.data.windows import Indices, StepWindows


def program_of(
    networks: Networks, config: TrialConfig, seed: int, graphs: Path | None = None
) -> Program:
    """Return the program of networks that are compiled for training.

    `seed` is that of the dropout masks. `graphs` is the folder of the graph cache
    (`models/cpu/graph_cache.py`); without one, every graph is traced.
    """
    if not backend.is_tensorflow():
        kind = CarriedStepwiseProgram if config.carried else StepwiseProgram
        return kind(networks, config)
    if backend.own_arithmetic():
        fast: type[programs.FastProgram]
        if config.direction == "bi":
            fast = programs.FastProgram
        elif config.carried:
            fast = programs.CarriedFastProgram
        else:
            fast = programs.StreamFastProgram
        return fast(networks, config, seed, GraphCache(graphs))
    stock = programs.CarriedKerasProgram if config.carried else programs.KerasProgram
    return stock(networks, config)


def predictor_of(program: Program, config: TrialConfig) -> Predictor:
    """What predicts with the network of a program: in streams if the state is carried.

    Else it is in windows, of a unidirectional network in each of their steps, and also in parts of
    them if the program can go on from a state.
    """
    stream = program.stream if isinstance(program, StreamProgram) else None
    if config.carried and stream:
        return stream
    if config.direction == "bi" or not isinstance(program, StepProgram):
        return program.logits
    return WindowReader(program.logits, program.last_logits, stream)


class StepwiseProgram(StepProgram):
    """One call of `train_on_batch` for each step; works with every backend of Keras."""

    def __init__(self, networks: Networks, config: TrialConfig) -> None:
        self._networks, self._config = networks, config

    @override
    def train(self, windows: StepWindows) -> tuple[Float32s, Float32s]:
        model, losses, weights = self._networks.trained, list[float](), list[float]()
        for batch in windows.batches(every_step=self._config.direction == "uni"):
            model.reset_metrics()
            loss = model.train_on_batch(batch.inputs, batch.targets, sample_weight=batch.weights)
            losses.append(float(loss))
            weights.append(float(batch.weights.sum()))
            self._average()
        return np.array(losses, np.float32), np.array(weights, np.float32)

    def _average(self) -> None:
        """Average the weights after a step."""
        model, averages = self._networks.trained, self._networks.averages
        step = int(model.optimizer.iterations)
        if averages and step and optimizer.is_due(step):
            share = optimizer.share(step)
            for average, weight in zip(averages, model.trainable_variables, strict=True):
                average.assign_add(share * (weight - average))

    @override
    def logits(self, windows: NDArray[np.int32]) -> Float32s:
        return np.asarray(self._networks.scored.predict_on_batch(windows))

    @override
    def last_logits(self, windows: NDArray[np.int32], count: int) -> Float32s:
        return np.asarray(self._networks.every_step.predict_on_batch(windows))[:, -count:]

    @override
    def sync(self) -> None:
        self._networks.sync()


class CarriedStepwiseProgram(StepwiseProgram, StreamProgram):
    """As `StepwiseProgram`, of networks whose state is carried."""

    @override
    def stream(self, codes: NDArray[np.int32], places: Indices, states: States | None) -> Stream:
        streamed = self._networks.streamed
        states = zero_states(streamed, len(codes)) if states is None else states
        logits, *after = streamed.predict_on_batch([codes, *states])
        step, row = np.divmod(places, len(codes))
        return np.asarray(logits)[row, step], after


def zero_states(streamed: Any, rows: int) -> list[Float32s]:
    """States before the first step of `rows` streams."""
    return [np.zeros((rows, one.shape[-1]), np.float32) for one in streamed.inputs[1:]]
