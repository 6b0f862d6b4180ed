"""What trials are expected to have when the search is over."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.policy.horizon import Horizon
from lstm_sweep.search.progress import TrialSnapshot
from lstm_sweep.search.trial import Trial
from tests.unit.search.policy.player import GivenForecasts, course_of, with_rounds

ROUNDS = 16


def snapshot(number: int, losses: Sequence[float], seconds: float = 10.0) -> TrialSnapshot:
    """A trial whose rounds take so many seconds, the first one twice as many."""
    trial = Trial(sweep="s", number=number, config=TrialConfig(epochs=ROUNDS), seed=0)
    rounds = [
        {"val_loss": loss, "round_seconds": seconds if place else 2 * seconds}
        for place, loss in enumerate(losses)
    ]
    return with_rounds(course_of(trial), *rounds).snapshot()


def of_one(losses: Sequence[float], end: float, left: float | None, seconds: float = 10.0) -> float:
    """What a single trial has then, which has `end` after all its rounds."""
    horizon = Horizon(GivenForecasts((end, end, end)), ROUNDS)
    horizon.put(snapshot(0, losses, seconds))
    horizon.know_left(left)
    return float(horizon.losses()[0])


@pytest.mark.parametrize(
    "left, expected",
    [
        (None, 1.0),
        (120.0, 1.0),
        (1e6, 1.0),
        # from 4 rounds to 16 the loss is halved, and to 8 that is half of the way
        (40.0, math.sqrt(2)),
        (49.0, math.sqrt(2)),
        (9.0, 2.0),
        (0.0, 2.0),
        (-5.0, 2.0),
    ],
)
def test_a_loss_falls_as_a_power_of_the_rounds_that_there_is_time_for(
    left: float | None, expected: float
) -> None:
    assert of_one([3.0, 2.5, 2.2, 2.0], 1.0, left) == pytest.approx(expected)


def test_slower_rounds_come_less_far() -> None:
    losses = [3.0, 2.5, 2.2, 2.0]
    assert of_one(losses, 1.0, 40.0, seconds=40.0) > of_one(losses, 1.0, 40.0, seconds=10.0)


def test_it_goes_on_from_the_lowest_loss() -> None:
    assert of_one([3.0, 2.5, 2.0, 2.4], 1.0, 40.0) == pytest.approx(math.sqrt(2))


@pytest.mark.parametrize("left, expected", [(20.0, 1.0), (19.0, 3.0), (0.0, 3.0)])
def test_a_trial_with_one_round_is_expected_to_come_to_its_last_if_there_is_time_for_another(
    left: float, expected: float
) -> None:
    assert of_one([3.0], 1.0, left) == expected


@pytest.mark.parametrize("losses, end", [([2.0] * ROUNDS, 1.9), ([0.0] * 4, -0.5)])
def test_where_nothing_can_be_said_the_forecast_stays(losses: list[float], end: float) -> None:
    """All rounds are done, or the loss is zero."""
    assert of_one(losses, end, 40.0) == end


def test_all_trials_are_known_by_their_numbers() -> None:
    forecasts = GivenForecasts((1.0, 1.0, 1.0), (math.nan,) * 3, (0.5, 0.5, 0.5), (1.5, 1.5, 1.5))
    horizon = Horizon(forecasts, ROUNDS)
    horizon.put(snapshot(2, [2.0] * 4))
    horizon.know_left(40.0)
    # those that were never put keep their forecasts
    assert horizon.losses().tolist() == pytest.approx([1.0, math.nan, 1.0, 1.5], nan_ok=True)


def test_what_has_changed_since_is_seen() -> None:
    forecasts = GivenForecasts((1.0, 1.0, 1.0))
    horizon = Horizon(forecasts, ROUNDS)
    horizon.put(snapshot(0, [2.0] * 4))
    horizon.know_left(40.0)
    assert horizon.losses()[0] == pytest.approx(math.sqrt(2))
    horizon.know_left(0.0)
    assert horizon.losses()[0] == 2.0
    horizon.know_left(40.0)
    forecasts.given = np.array([[0.5], [0.5], [0.5]])
    assert horizon.losses()[0] == pytest.approx(1.0)
    horizon.put(snapshot(0, [2.0] * 8))
    assert horizon.losses()[0] == pytest.approx(2 * 0.25 ** (math.log(1.5) / math.log(2)))


def test_numbers_of_any_size_have_room() -> None:
    few, many = (Horizon(GivenForecasts(*[(1.0, 1.0, 1.0)] * 300), ROUNDS) for _ in range(2))
    few.put(snapshot(2, [2.0] * 4))
    many.put(snapshot(299, [2.0] * 4))
    for horizon in (few, many):
        horizon.know_left(0.0)
    assert few.losses()[[1, 2, 299]].tolist() == [1.0, 2.0, 1.0]
    assert many.losses()[[0, 299]].tolist() == [1.0, 2.0]
