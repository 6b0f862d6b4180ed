"""Types shared by the programs that train a network and by those that build and call them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.data.windows import Indices, StepWindows

Float32s = NDArray[np.float32]
#: states of all layers, in a form that belongs to the program
States = Sequence[Any]
#: logits and states
Stream = tuple[Float32s, States]
#: maps windows `<int32>[rows, time]` to logits `[rows, alphabet]` of the symbols after them
WindowPredictor = Callable[[NDArray[np.int32]], Float32s]
#: `StreamProgram.stream`
StreamPredictor = Callable[[NDArray[np.int32], Indices, States | None], Stream]
#: the one or, if the state is carried, the other
Predictor = WindowPredictor | StreamPredictor


@dataclass(frozen=True)
class WindowReader:
    """A `WindowPredictor` of a unidirectional network, which predicts in other steps as well."""

    logits: WindowPredictor
    #: `StepProgram.last_logits`
    last_logits: Callable[[NDArray[np.int32], int], Float32s]
    #: what reads windows in parts, and so equal beginnings once, if there is such a program
    stream: StreamPredictor | None = None

    def __call__(self, windows: NDArray[np.int32]) -> Float32s:
        """Logits of the symbols after whole windows."""
        return self.logits(windows)


@dataclass(frozen=True)
class Networks:
    """The Keras model that is trained and the one that is scored, saved and exported."""

    #: `<int32>[batch, time]` -> logits `[batch, time, alphabet]` (uni) or `[batch, alphabet]` (bi)
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


class Program(Protocol):
    """The computations of one trial: training steps and logits.

    An implementation may keep weights outside the Keras variables while it trains. From the first
    call of `train` on, only the program may change these variables, and they are valid only after
    `sync`.
    """

    def train(self, windows: StepWindows) -> tuple[Float32s, Float32s]:
        """Take the training steps of `windows`.

        Returns:
            Mean loss of each step in nats and its number of counted targets, both
            `<float32>[steps]`.
        """
        ...

    def logits(self, windows: NDArray[np.int32]) -> Float32s:
        """Logits `[windows, alphabet]` of the symbols after `windows`, `<int32>[windows, time]`.

        `time` is the sequence length of the config.
        """
        ...

    def sync(self) -> None:
        """Write the trained weights and optimizer state to the Keras variables.

        Call it after training, before these are read or `logits` is called.
        """
        ...


@runtime_checkable
class StepProgram(Program, Protocol):
    """The computations of a trial whose network predicts in each step of a window.

    Some programs are of this class whatever their network; `predictor_of` asks those alone whose
    network is unidirectional and begins each window from a state of zero.
    """

    def last_logits(self, windows: NDArray[np.int32], count: int) -> Float32s:
        """Logits in the last `count` steps of `windows`, `[windows, count, alphabet]`.

        The last of them are those of `logits`, up to rounding.
        """
        ...


@runtime_checkable
class StreamProgram(Program, Protocol):
    """The computations of a trial whose network can go on from the states after other steps."""

    def stream(self, codes: NDArray[np.int32], places: Indices, states: States | None) -> Stream:
        """Read more of several streams: one step a symbol, `<int32>[streams, time]`.

        `states` are those after the steps before; None: zeros, at the beginning.
        `places` are steps, as indices in the order of time.

        Returns:
            Logits of the symbols after these steps, `<float32>[places, alphabet]`, and the states.
        """
        ...


def last_logits(
    stream: StreamPredictor, codes: NDArray[np.int32], count: int, states: States | None = None
) -> Float32s:
    """Logits in the last `count` steps of streams, `[streams, count, alphabet]`."""
    rows, steps = codes.shape
    places = np.arange((steps - count) * rows, steps * rows)
    logits, _ = stream(codes, places, states)
    return logits.reshape(count, rows, -1).swapaxes(0, 1)
