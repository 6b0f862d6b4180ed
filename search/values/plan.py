"""`Plan`: how to search, and how much may be spent on it."""

from __future__ import annotations

from dataclasses import dataclass

#: what proposes configs, the default first
ALGORITHMS = ("tpe", "hyperopt", "random", "anneal")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to search."""

    algorithm: str = ALGORITHMS[0]
    seed: int = 0
    #: budget: trials at most, and seconds from the beginning; None: no limit
    trials: int = 50
    seconds: float | None = None
    ladder: bool = True
    #: begin with the best of earlier sweeps on the same data
    prior: bool = True
    halving: bool = True
    #: end a trial whose validation loss has not improved for this many epochs; 0: never
    early_stopping: int = 10
    #: end the search when the best loss has not improved for this many trials; None: never
    patience: int | None = None
    #: retrain this many of the best configs, each with this many further seeds
    confirm_configs: int = 3
    confirm_seeds: int = 3
