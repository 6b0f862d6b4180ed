"""The Keras models of a trial, and what a program that trains them can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.windows import Indices

Codes = NDArray[np.int32]
Float32s = NDArray[np.float32]
#: states of all layers, in a form that belongs to the program
States = Sequence[Any]
#: logits and states
Stream = tuple[Float32s, States]


@dataclass(frozen=True)
class Networks:
    """The Keras model that is trained and the one that is scored, saved and exported."""

    #: `<int32>[batch, time]` -> logits `[batch, time, alphabet]` (uni) or `[batch, alphabet]` (bi);
    #: of one that predicts classes see `classifier.build_classifier`
    trained: Any
    #: `<int32>[batch, time]` -> logits of the symbol after the window, `[batch, alphabet]`
    scored: Any
    #: the layers of `scored`, of a unidirectional network whose state is not carried:
    #: `<int32>[batch, time]` -> logits in each step, `[batch, time, alphabet]`
    every_step: Any = None
    #: whose variables `scored` has: those of `trained`, copies of them in float32, or averages of
    #: them over the steps so far
    scored_weights: Literal["shared", "copies", "averages"] = "shared"
    #: if the state is carried: the layers of `scored`, from `<int32>[batch, time]` and the state of
    #: each layer (output and cell, `[batch, units]` each) to logits `[batch, time, alphabet]` and
    #: the states after the last step. `trained` then takes whether a row goes on,
    #: `<float32>[batch]`, and its steps whose targets count, `<int32>[batch]`, too
    streamed: Any = None
    #: of classifiers that are averaged, those of each with its config; nothing is trained
    members: Sequence[tuple[Networks, TrialConfig]] = ()

    @property
    def averages(self) -> list[Any]:
        """The variables of `scored` if they are averages, in the order of `trained`; else none."""
        averaged = self.scored_weights == "averages"
        return list(self.scored.trainable_variables) if averaged else []

    def sync(self) -> None:
        """Copy the weights of `trained` to `scored`, if it has copies."""
        if self.scored_weights == "copies":
            self.copy_weights()

    def copy_weights(self) -> None:
        """Copy the weights of `trained`, without its states, to `scored`, unless shared."""
        if self.scored_weights != "shared":
            self.scored.set_weights([one.numpy() for one in self.trained.trainable_variables])


class Program(ABC):
    """The computations of one trial: training steps, what they change, and predictions.

    An implementation may keep weights outside the Keras variables while it trains. From the first
    call of `train` on, only the program may change these variables, and they are valid only after
    `sync`. A network that predicts classes has no streams.
    """

    #: whether it can go on from states, which it must if the state is carried
    streams: bool

    @abstractmethod
    def train(self, steps: Any) -> tuple[Float32s, Float32s]:
        """Take training steps, given as `StepWindows` or `ClassSteps`.

        Returns:
            Mean loss of each step in nats and the weight of its targets, both `<float32>[steps]`.
        """

    @abstractmethod
    def sync(self) -> None:
        """Write the trained weights and optimizer state to the Keras variables.

        Call it after training, before these are read or `logits` is called.
        """

    @abstractmethod
    def logits(self, *inputs: Codes) -> Float32s:
        """Logits `[windows, alphabet]` of the symbols after windows, `<int32>[windows, time]`.

        `time` is the sequence length of the config. Of classes: logits `[sequences, classes]` of
        sequences that are padded on the right to an even number of steps, and their lengths.
        """

    @abstractmethod
    def last_logits(self, windows: Codes, count: int) -> Float32s:
        """Logits in the last `count` steps of `windows`, `[windows, count, alphabet]`.

        The last of them are those of `logits`, up to rounding. Of unidirectional networks.
        """

    @abstractmethod
    def stream(self, codes: Codes, places: Indices, states: States | None) -> Stream:
        """Read more of several streams: one step a symbol, `<int32>[streams, time]`.

        `states` are those after the steps before; None: zeros, at the beginning.
        `places` are steps, as indices in the order of time.

        Returns:
            Logits of the symbols after these steps, `<float32>[places, alphabet]`, and the states.
        """

    def last_streamed(self, codes: Codes, count: int, states: States | None = None) -> Float32s:
        """Logits in the last `count` steps of streams, `[streams, count, alphabet]`."""
        rows, steps = codes.shape
        places = np.arange((steps - count) * rows, steps * rows)
        logits, _ = self.stream(codes, places, states)
        return logits.reshape(count, rows, -1).swapaxes(0, 1)
