"""How long trials of a ladder are trained: long enough to tell rates apart, and no longer.

It follows from what the ladder's network costs by `cost.PRIOR`, so it is known before anything is
trained, and the same for all rates.
"""

from __future__ import annotations

import math
from dataclasses import replace

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.policy.cost import (
    PRIOR_FIXED,
    DataSize,
    prior_seconds,
    steps_per_round,
)
from lstm_sweep.search.policy.problem import LadderLength

#: steps of the optimizer by which rates have parted, and those without which they may not have
STEPS, FEWEST_STEPS = 300, 150
#: share of them that whole rounds have at least
ENOUGH = 0.8
#: by how many steps it is shortened at a time
LESS = 50
#: share of a sweep's time that a ladder may take, and the rates that it usually needs
SHARE, USUAL_RATES = 0.05, 4


def ladder_length(
    network: TrialConfig, data_size: DataSize, rounds: int, seconds: float | None, slots: int
) -> LadderLength:
    """How long each trial is trained, so that the ladder takes at most `SHARE` of the time.

    `rounds` are those that a trial of the sweep has at most. A sweep takes so many `seconds` (None:
    no limit) on a number of slots.
    """
    turns = math.ceil(USUAL_RATES / slots)
    for steps in range(STEPS, FEWEST_STEPS, -LESS):
        length = _of(steps, network, data_size, rounds)
        trial_s = PRIOR_FIXED + predicted_s(length, network, data_size)
        if seconds is None or turns * trial_s <= SHARE * seconds:
            return length
    return _of(FEWEST_STEPS, network, data_size, rounds)


def _of(steps: int, network: TrialConfig, data_size: DataSize, rounds: int) -> LadderLength:
    """So many steps of a round that has more, else whole rounds with about as many."""
    in_round = steps_per_round(network, data_size)
    if steps < in_round:
        return LadderLength(1, steps)
    return LadderLength(min(math.ceil(ENOUGH * steps / in_round), rounds))


def predicted_s(length: LadderLength, network: TrialConfig, data_size: DataSize) -> float:
    """Seconds of training and scoring."""
    score_s = prior_seconds(network, replace(data_size, symbols=0))
    train_s = prior_seconds(network, data_size) - score_s
    share = 1.0
    if length.steps is not None:
        share = length.steps / steps_per_round(network, data_size)
    return (length.rounds or 1) * (score_s + share * train_s)
