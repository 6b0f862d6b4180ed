"""`Plan`: how to search, and how much may be spent on it."""

from __future__ import annotations

from dataclasses import dataclass

from lstm_sweep.search.policy.proposer import STARTUP

#: first proposals of a search of which the one with the cheapest steps is tried first
CHOICES = 3


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to search. benchmarks/replay.py compares other values with the defaults."""

    algorithm: str = "tpe"
    seed: int = 0
    #: budget: trials at most, and seconds from the beginning; None: no limit
    trials: int = 50
    seconds: float | None = None
    ladder: bool = True
    #: begin the search with the ladder's network in a middling size and the best rate
    opening: bool = True
    halving: bool = True
    #: end a trial whose validation loss has not improved for this many epochs; 0: never
    early_stopping: int = 10
    #: end the search when the best loss has not improved for this many trials; None: never
    patience: int | None = None
    #: retrain this many of the best configs, each with this many further seeds
    confirm_configs: int = 3
    confirm_seeds: int = 3
    #: epochs of the first rung, and of a trial of the ladder; None: by the steps in an epoch
    first_rung: int | None = None
    ladder_epochs: int | None = None
    #: while the search starts, of so many proposals the one with the cheapest steps is tried first
    choices: int = CHOICES
    #: how much a proposal of TPE has to promise per second: 0, promises alone count; 1, expected
    #: improvement per second
    cost_weight: float = 0.0
    #: what TPE is told of trials under way: `worst`, `mean` or `none`
    liar: str = "worst"
    startup: int = STARTUP
    #: what TPE is told of a trial that was cut short: `prospect`, `last` or `rung`
    lesson: str = "prospect"
