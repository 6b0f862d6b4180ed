"""Sweeps of text networks under a limit of time: leaders are those that will be best by then."""

from __future__ import annotations

import statistics
from unittest import mock

import pytest

from lstm_sweep.search.policy.confirmation import SHARE
from lstm_sweep.search.policy.cost import DataSize
from lstm_sweep.search.policy.horizon import Horizon
from lstm_sweep.search.policy.pausing import Pausing
from lstm_sweep.search.policy.plan import Plan
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.space import with_settings
from tests.conftest import in_full
from tests.simulated import Texts, simulate

#: tinyshakespeare on a core that takes 32 s for a round of 2x368
TEXTS = Texts(DataSize(1_003_854, alphabet=68, targets=2_304, rounds_per_epoch=3), pace=0.5)
UNI = with_settings(presets.DEFAULT, ["direction=uni"])


def mean_best(minutes: float, slots: int) -> float:
    """Mean of the lowest losses of some sweeps."""
    plans = [Plan(trials=10_000, seconds=60 * minutes, seed=seed) for seed in range(6)]
    found = [simulate(plan, UNI, TEXTS, slots=slots).best for plan in plans]
    assert None not in found
    return statistics.fmean(loss or 0.0 for loss in found)


def test_no_new_trial_begins_in_the_time_that_is_kept_to_confirm_the_best() -> None:
    found, is_late = mean_best(5, 2), Pausing.is_late

    def later(pausing: Pausing, left: float | None) -> bool:
        return is_late(pausing, None if left is None else left + SHARE * 5 * 60)

    with mock.patch.object(Pausing, "is_late", later):
        assert found < mean_best(5, 2)


@pytest.mark.parametrize("minutes, slots", [(5, 2), *in_full((20, 2))])
def test_sweeps_end_lower_than_if_leaders_were_those_that_would_end_best(
    minutes: float, slots: int
) -> None:
    found = mean_best(minutes, slots)
    with mock.patch.object(Horizon, "know_left"):
        assert found < mean_best(minutes, slots)
