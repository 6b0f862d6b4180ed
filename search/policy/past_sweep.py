"""What a sweep that was searched before says about others: places in place of losses.

Losses of two corpora do not compare; who was better than whom does (quantile transfer; Salinas et
al., arXiv 1909.13595). Learning rates depend on the size of a network, so one counts as a multiple
of the rate that the ladder of its sweep would have given that network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.policy import found_rate, ladder
from lstm_sweep.search.policy.arrays import Array
from lstm_sweep.search.policy.experience import PastSweep, PastTrial
from lstm_sweep.search.policy.lstm_problem import rate_share


@dataclass(frozen=True)
class Trained:
    """A trial as it was trained."""

    config: TrialConfig
    #: lowest validation loss so far after each round, nats; empty if it has none
    best_so_far: Sequence[float]


def past_sweep(
    searched: Sequence[Trained],
    climbed: Sequence[Trained] = (),
    untrained: float | None = None,
    *,
    same_corpus: bool = False,
    refine: bool = True,
) -> PastSweep:
    """What the trials of a search say; `climbed` are those of its ladder.

    `untrained` is the loss of the unigram baseline, nats.
    """
    rate = _found(climbed, untrained, refine)
    small = climbed[0].config if climbed else None

    def multiple(config: TrialConfig) -> float | None:
        if rate is None or small is None:
            return None
        return config.learning_rate / (rate * rate_share(config, small))

    behind = places([one.best_so_far for one in searched])
    return PastSweep(
        tuple(
            PastTrial(one.config, float(share), multiple(one.config))
            for one, share in zip(searched, behind, strict=True)
        ),
        same_corpus,
    )


def _found(climbed: Sequence[Trained], untrained: float | None, refine: bool) -> float | None:
    """The rate that a ladder has found for its network; None if there is none."""
    losses = {one.config.learning_rate: min(one.best_so_far, default=math.inf) for one in climbed}
    steps = [ladder.Step(rate, losses[rate]) for rate in sorted(losses, reverse=True)]
    if not steps:
        return None
    best = ladder.decide(steps, math.inf if untrained is None else untrained).best
    if best is None or not refine:
        return best
    return found_rate.between_steps(steps, best, untrained)


def places(curves: Sequence[Sequence[float]]) -> Array:
    """Of each trial, which share of the others was better, `<float64>[trials]`, 0 to 1.

    Two trials are compared after the last round that both have come to: so one that was cut short
    is behind those that were better by then, however they have ended. One without a loss is behind
    all that have one.
    """
    if not curves:
        return np.zeros(0)
    rounds = max(1, *map(len, curves))
    losses = np.full((len(curves), rounds), np.inf)
    lengths = np.array([max(1, len(curve)) for curve in curves])
    for row, curve in zip(losses, curves, strict=True):
        row[: len(curve)] = curve
    everyone = np.arange(len(curves))
    found = np.empty(len(curves))
    for number, length in enumerate(lengths):
        last = np.minimum(lengths, length) - 1
        found[number] = (losses[everyone, last] < losses[number, last]).sum()
    return found / max(1, len(curves) - 1)
