"""Spaces, losses and searches for tests of the proposer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from lstm_sweep.models.config import TrialConfig, as_lstm_config
from lstm_sweep.search.policy.plan import ALGORITHMS
from lstm_sweep.search.policy.proposer import Observation, Observations, Proposal, Proposer
from lstm_sweep.spaces.dimension import Listed, Range
from lstm_sweep.spaces.space import Space

each_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)
SMALL = Space(
    {
        "direction": Listed("direction", ("uni", "bi")),
        "layers": Listed("layers", (1, 2, 3)),
        "batch_size": Listed("batch_size", (32, 64)),
    }
)
FREE = Space(
    {
        "dropout": Range("dropout", 0.0, 0.8),
        "layers": Listed("layers", (2, 3)),
        "layer_size": Range("layer_size", 32, 512, step=16, log=True),
    }
)
Loss = Callable[[TrialConfig], float | None]


def by_dropout(config: TrialConfig) -> float:
    return 1.0 + config.dropout


def asked(proposer: Proposer, number: int, seen: Sequence[Observation]) -> Proposal:
    """A proposal where there has to be one."""
    proposal = proposer.propose(number, Observations.of(seen))
    assert proposal
    return proposal


def under_way(number: int, proposal: Proposal) -> Observation:
    return Observation(number, proposal.config, proposal.point, None, pending=True)


def ended(number: int, proposal: Proposal, loss: float | None) -> Observation:
    return Observation(number, proposal.config, proposal.point, loss)


def search(
    proposer: Proposer, trials: int, loss: Loss = by_dropout, slots: int = 1
) -> list[Observation]:
    """Run so many trials, as many at a time as there are slots."""
    seen: list[Observation] = []
    for number in range(trials):
        if number >= slots:
            oldest = seen[number - slots]
            known = replace(oldest, loss=loss(as_lstm_config(oldest.config)), pending=False)
            seen[number - slots] = known
        seen.append(under_way(number, asked(proposer, number, seen)))
    return [
        replace(trial, loss=loss(as_lstm_config(trial.config)), pending=False) for trial in seen
    ]


def configs(seen: Sequence[Observation]) -> list[TrialConfig]:
    return [as_lstm_config(trial.config) for trial in seen]
