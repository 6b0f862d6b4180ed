"""`Objective`: what trials are compared by."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What trials are compared by: how the loss of one is taken, and what it is measured in."""

    #: what it is called beside numbers
    name: str
    #: whether it is what the trial returns at its end, not the lowest validation loss of its rounds
    returned: bool = False
    #: whether it is a mean over symbols in nats
    nats_per_symbol: bool = False

    def bits_per_symbol(self, loss: float | None) -> float | None:
        """The loss in bits per symbol; None if it is not measured so."""
        return None if loss is None or not self.nats_per_symbol else loss / math.log(2)

    @property
    def round_name(self) -> str:
        """What the validation loss of a round is called."""
        return "validation loss" if self.returned else self.name


#: lowest validation loss of a trial's rounds, nats per symbol
VALIDATION_LOSS = Objective(name="validation loss (nats per symbol)", nats_per_symbol=True)
#: what a trial returns, in whatever unit
RETURNED_LOSS = Objective(name="loss", returned=True)
