"""Types shared by the programs that train a network and by those that build and call them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.data.windows import StepWindows

Float32s = NDArray[np.float32]


@dataclass(frozen=True)
class Networks:
    """The Keras model that is trained and the one that is scored, saved and exported.

    They share their variables unless `separate_weights` is set.
    """

    #: `<int32>[batch, time]` -> logits `[batch, time, alphabet]` (uni) or `[batch, alphabet]` (bi)
    trained: Any
    #: `<int32>[batch, time]` -> logits of the symbol after the window, `[batch, alphabet]`
    scored: Any
    #: whether `scored` has float32 weights of its own, since `trained` has another precision
    separate_weights: bool = False

    def sync(self) -> None:
        """Copy the weights of `trained` to `scored`, if they are not shared."""
        if self.separate_weights:
            self.scored.set_weights(self.trained.get_weights())


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
