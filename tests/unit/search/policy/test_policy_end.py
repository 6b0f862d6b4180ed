"""When a search ends without being told to."""

from __future__ import annotations

import pytest

from lstm_sweep.search.policy.plan import ALGORITHMS, Plan
from lstm_sweep.search.policy.stop_reason import all_trials, out_of_patience, space_is_tried
from lstm_sweep.search.trial import Outcome, Phase
from tests.unit.search.policy.player import (
    PLAIN,
    SMALL,
    always,
    each_slots,
    in_order,
    play,
    reason_of,
)


@pytest.mark.parametrize(
    "losses, wobble, patience, expected",
    [
        ([2.0], 0.0, 3, 4),  # the first is the best, and three more follow
        ([2.0, 1.9, 1.8, 1.7, 1.7], 0.0, 3, 7),
        ([2.0, 2.0, 2.0, 1.5, 1.5], 0.0, 4, 8),
        ([2.0, 2.0, 2.0, 1.5, 1.5], 0.0, 2, 3),  # too early to find it
        ([2.0 - 0.01 * n for n in range(30)], 0.0, 3, 30),  # always better
        ([2.0 - 0.01 * n for n in range(30)], 0.2, 3, 4),  # 0.01 is no more than noise
        ([2.0 - 0.01 * n for n in range(30)], 0.2, 25, 30),  # but it adds up
    ],
)
def test_the_search_ends_when_nothing_gets_better(
    losses: list[float], wobble: float, patience: int, expected: int
) -> None:
    plan = Plan(**{**PLAIN, "trials": 30, "patience": patience})
    played = play(plan, curves=in_order(losses, wobble), slots=1)
    assert len(played.all_progress) == expected
    ended_early = out_of_patience(patience).text
    assert reason_of(played.policy) == (ended_early if expected < 30 else all_trials(30).text)


def test_after_patience_the_best_are_confirmed_and_the_reason_stays() -> None:
    plan = Plan(**{**PLAIN, "trials": 40, "patience": 5, "confirm_configs": 2})
    played = play(plan, curves=in_order([2.0]), slots=1)
    assert (len(played.of(Phase.SEARCH)), len(played.of(Phase.CONFIRM))) == (6, 6)
    assert reason_of(played.policy) == out_of_patience(5).text


def test_trials_that_diverge_are_trials_without_gain() -> None:
    plan = Plan(**{**PLAIN, "trials": 30, "patience": 4})
    played = play(plan, curves=always(outcome=Outcome.DIVERGED), slots=1)
    assert len(played.all_progress) == 4


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_space_that_is_used_up_ends_the_search_with_a_reason(algorithm: str) -> None:
    plan = Plan(**{**PLAIN, "trials": 50, "algorithm": algorithm})
    played = play(plan, SMALL, curves=always(*[2.0] * 9), slots=3)
    assert {progress.trial.config for progress in played.all_progress} == set(SMALL.points())
    assert reason_of(played.policy) == space_is_tried(12).text


def test_a_space_of_which_nothing_is_admitted_ends_at_once() -> None:
    played = play(Plan(trials=50), SMALL, admits=lambda config: False)
    assert played.all_progress == []
    assert reason_of(played.policy) == "no config may be tried"


@each_slots
def test_a_space_that_is_used_up_may_be_confirmed_still(slots: int) -> None:
    plan = Plan(trials=50, halving=False, early_stopping=0)
    played = play(plan, SMALL, curves=in_order([2.0 - 0.1 * n for n in range(12)]), slots=slots)
    assert len(played.of(Phase.SEARCH)) == 12
    assert len(played.of(Phase.CONFIRM)) == 9
    assert reason_of(played.policy) == space_is_tried(12).text
