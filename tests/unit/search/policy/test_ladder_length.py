from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.policy.cost import PRIOR_FIXED, DataSize, steps_per_round
from lstm_sweep.search.policy.ladder_length import (
    ENOUGH,
    FEWEST_STEPS,
    SHARE,
    STEPS,
    USUAL_RATES,
    ladder_length,
    predicted_s,
)
from lstm_sweep.search.policy.problem import LadderLength

SMALL = TrialConfig(layers=2, layer_size=32, sequence_length=20, batch_size=32, epochs=27)
#: an epoch of 50,000 steps
LARGE = DataSize(32_000_000, alphabet=90, targets=2_000)


def test_without_a_limit_of_time_a_long_round_ends_after_300_steps() -> None:
    assert ladder_length(SMALL, LARGE, 27, None, 2) == LadderLength(1, STEPS)


@pytest.mark.parametrize("slots", [1, 2, 4, 16])
@pytest.mark.parametrize("minutes", [2, 5, 10, 60])
@pytest.mark.parametrize("symbols", [100_000, 1_000_000, 30_000_000])
def test_the_ladder_takes_its_share_of_the_time_or_the_fewest_steps(
    symbols: int, minutes: float, slots: int
) -> None:
    size = DataSize(symbols, 90, 4_000, max(1, symbols // 300_000))
    length = ladder_length(SMALL, size, 27 * size.rounds_per_epoch, 60 * minutes, slots)
    turns = math.ceil(USUAL_RATES / slots)
    whole = turns * (PRIOR_FIXED + predicted_s(length, SMALL, size))
    steps = length.steps or math.floor((length.rounds or 0) * steps_per_round(SMALL, size))
    assert steps >= ENOUGH * FEWEST_STEPS
    assert whole <= SHARE * 60 * minutes or steps < FEWEST_STEPS + steps_per_round(SMALL, size)


@given(
    symbols=st.integers(1_000, 10**8),
    rounds_per_epoch=st.integers(1, 200),
    seconds=st.none() | st.floats(1, 1e5),
)
def test_steps_end_within_a_round_and_rounds_have_the_fewest_steps(
    symbols: int, rounds_per_epoch: int, seconds: float | None
) -> None:
    size = DataSize(symbols, 90, 2_000, rounds_per_epoch)
    most = SMALL.epochs * rounds_per_epoch
    found = ladder_length(SMALL, size, most, seconds, 2)
    assert found.rounds
    each = steps_per_round(SMALL, size)
    if found.steps is not None:
        assert found.rounds == 1 and FEWEST_STEPS <= found.steps < each
    else:
        assert found.rounds == most or found.rounds * each >= ENOUGH * FEWEST_STEPS
