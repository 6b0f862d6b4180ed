"""Chooses the implementation of a trial's computations for this process's backend and device.

With TensorFlow, one call of `train` runs many steps in one graph (`models/cpu/programs.py`).
With another backend of Keras, steps are taken one by one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from typing_extensions import override

from lstm_sweep.models import backend
from lstm_sweep.models.classes import averaged
from lstm_sweep.models.config import ClassConfig, TrialConfig
from lstm_sweep.models.cpu.graph_cache import GraphCache
from lstm_sweep.models.cpu.program_types import Codes, Float32s, Networks, Program
from lstm_sweep.models.cpu.programs import (
    FastClassProgram,
    FastProgram,
    KerasProgram,
    StepwiseProgram,
)


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


class AveragedProgram(StepwiseProgram):
    """Classifiers whose probabilities are averaged, each computed on its own."""

    def __init__(self, networks: Networks, config: TrialConfig) -> None:
        super().__init__(networks, config)
        self._members = [program_of(*member, seed=0) for member in networks.members]

    @override
    def logits(self, *inputs: Codes) -> Float32s:
        return averaged([one.logits(*inputs) for one in self._members]).astype(np.float32)
