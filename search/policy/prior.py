"""`EarlierBest`: the best trial of an earlier sweep on the same corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lstm_sweep.models.config import TrialConfig

#: how many of them a search begins with, those of the newest sweeps
MOST = 2


@dataclass(frozen=True)
class EarlierBest:
    """The trial of an earlier sweep with the lowest loss; a search begins with its config."""

    #: `SWEEP/NUMBER`
    trial: str
    config: TrialConfig


def described(prior: Sequence[EarlierBest]) -> list[str]:
    """A line for people: which earlier configs a search begins with; none if there are none."""
    if not prior:
        return []
    many = len(prior) > 1
    sweeps = f"configs of {len(prior)} earlier sweeps" if many else "config of an earlier sweep"
    trials = ", ".join(one.trial for one in prior)
    return [f"prior: begins with the best {sweeps} on these data ({trials})"]
