"""What is computed in one call: many training steps, or the logits of many windows.

On TensorFlow an epoch is a few calls of one traced function, whose loop needs no Python between two
steps. Another backend of Keras takes its steps one by one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models import backend
from models.config import TrialConfig
from models.lstm import Networks
from models.windows import Cut

Floats = NDArray[np.float32]


class Program(Protocol):
    """The computations of one trial.

    From the first of them on, nobody else may change the networks' variables.
    """

    def train(self, cut: Cut) -> tuple[Floats, Floats]:
        """Take the steps of `cut`: mean loss of each in nats, and how many targets counted."""
        ...

    def logits(self, windows: NDArray[np.int32]) -> Floats:
        """Logits of the symbols after windows, `[windows, alphabet]`.

        `windows` is `<int32>[windows, sequence length of the config]`.
        """
        ...

    def settle(self) -> None:
        """Give the networks and their optimizer what was learnt.

        Call it after training and before they are read or `logits` is called.
        """
        ...


def program_of(
    networks: Networks, config: TrialConfig, seed: int, graphs: Path | None = None
) -> Program:
    """The program of compiled networks, for the backend and the device of this process.

    `graphs` is a folder where it keeps what other networks of its form can use.
    """
    if not backend.is_tensorflow():
        return Stepwise(networks, config)
    from models import looped
    from models.graphs import Graphs

    if backend.own_arithmetic():
        return looped.OfStack(networks, config, seed, Graphs(graphs))
    return looped.OfLayers(networks, config)


class Stepwise:
    """Step by step, on any backend."""

    def __init__(self, networks: Networks, config: TrialConfig) -> None:
        self._networks, self._every_step = networks, config.direction == "uni"

    def train(self, cut: Cut) -> tuple[Floats, Floats]:
        """See `Program`."""
        model, losses, weights = self._networks.trained, list[float](), list[float]()
        for batch in cut.batches(every_step=self._every_step):
            model.reset_metrics()
            loss = model.train_on_batch(batch.inputs, batch.targets, sample_weight=batch.weights)
            losses.append(float(loss))
            weights.append(float(batch.weights.sum()))
        return np.array(losses, np.float32), np.array(weights, np.float32)

    def logits(self, windows: NDArray[np.int32]) -> Floats:
        """See `Program`."""
        return np.asarray(self._networks.scored.predict_on_batch(windows))

    def settle(self) -> None:
        """See `Program`."""
        self._networks.settle()
