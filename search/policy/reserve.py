"""What is kept of a budget to train the best configs again."""

from __future__ import annotations

from dataclasses import dataclass

from lstm_sweep.models.config import Config


@dataclass(frozen=True)
class Shortened:
    """Further runs of one config that have fewer rounds than its first run."""

    config: Config
    rounds: int
    #: runs at most, and seconds until all have ended
    trials: int
    seconds: float


@dataclass(frozen=True)
class Reserve:
    """What is kept of the budget for confirming."""

    trials: int
    #: of the end of the time; 0 if that is not limited, or nothing is known yet
    seconds: float = 0.0
    #: further runs of the best that are shorter than its first one, if no such run would fit
    shortened: Shortened | None = None
