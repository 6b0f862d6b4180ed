"""Which trials wait, go on, and end as pruned, in whole sweeps that are played."""

from __future__ import annotations

from typing import Any

import pytest

from lstm_sweep.search.values.spec import Plan
from lstm_sweep.search.values.stop_reason import StopReason
from lstm_sweep.search.values.trial import Outcome, Phase
from tests.unit.search.policy.player import (
    PLAIN,
    SMALL,
    Played,
    Player,
    in_order,
    play,
    policy_of,
    usual,
)

HALVING: dict[str, Any] = {**PLAIN, "halving": True}


def rounds_of(played: Played) -> list[int]:
    return [len(one.rounds) for one in played.all_progress]


@pytest.mark.parametrize("slots", [1, 2])
def test_the_best_is_trained_to_its_end_and_all_others_wait_until_the_search_is_over(
    slots: int,
) -> None:
    losses = [3.0, 2.0, 1.0]
    plan = Plan(**{**HALVING, "trials": 3})
    played = play(plan, SMALL, curves=in_order(losses), slots=slots, first_rung=1)
    assert rounds_of(played)[2] == 9
    assert [one.ended and one.ended.outcome for one in played.all_progress] == [
        Outcome.PRUNED, Outcome.PRUNED, Outcome.COMPLETE,
    ]  # fmt: skip
    assert max(rounds_of(played)[:2]) < 9, "they led only until the better one came"


def test_one_that_waits_is_promoted_once_enough_are_behind_it() -> None:
    """On two slots the first leads; the second is one of the best third when six have come."""
    losses = [1.0, 1.1, 5.0, 5.1, 5.2, 5.3]
    plan = Plan(**{**HALVING, "trials": 6})
    player = Player(policy_of(plan, SMALL, 2, first_rung=1), in_order(losses), 2)
    played = player.play()
    assert [trial.number for trial in player.placed].count(1) == 2
    assert rounds_of(played) == [9, 3, 1, 1, 1, 1]


@pytest.mark.parametrize("slots", [1, 2])
def test_where_all_configs_are_tried_before_the_budget_is_spent_all_go_on(slots: int) -> None:
    plan = Plan(**{**HALVING, "trials": 50})
    losses = [3.0 - number / 100 for number in range(12)]
    played = play(plan, SMALL, curves=in_order(losses), slots=slots, first_rung=1)
    assert rounds_of(played) == [9] * 12
    assert played.policy.stop and played.policy.stop.reason is StopReason.SPACE


def test_a_single_slot_is_for_the_leader_for_half_of_the_time() -> None:
    losses = [1.0 + number / 10 for number in range(12)]
    plan = Plan(**{**HALVING, "trials": 12})
    player = Player(policy_of(plan, SMALL, 1, first_rung=1), in_order(losses), 1)
    player.play()
    order = [trial.number for trial in player.placed]
    assert order.count(0) == 3, "it goes from rung to rung: 1, 3 and 9 epochs"
    second, third = [place for place, number in enumerate(order) if number == 0][1:]
    assert 1 <= second < third and third - second > 2


def test_near_the_end_those_that_wait_go_on_and_none_is_begun() -> None:
    played = play(Plan(trials=1_000, seconds=200.0, confirm_configs=0), slots=2, curves=usual)
    searched = played.of(Phase.SEARCH)
    leader = min((one for one in searched if one.best_loss), key=lambda one: one.best_loss or 9)
    last = max(one.began for one in searched)
    assert 200 - last > 0.4 * sum(leader.round_seconds)
    assert sum(len(one.rounds) > 1 for one in searched) > 3


@pytest.mark.parametrize("seconds", [None, 10_000.0])
def test_once_all_trials_are_begun_only_the_best_go_on(seconds: float | None) -> None:
    """With time left, too: `trials` is a limit of its own."""
    losses = [1.0, *(2.0 + number / 100 for number in range(20))]
    plan = Plan(**{**HALVING, "trials": 6, "seconds": seconds})
    played = play(plan, SMALL, curves=in_order(losses), slots=2, first_rung=1)
    assert rounds_of(played) == [9, 3, 1, 1, 1, 1]
    assert played.now < 100


@pytest.mark.parametrize("seconds", [None, 10_000.0])
@pytest.mark.parametrize("slots", [1, 2])
def test_patience_counts_trials_that_wait_and_ends_the_search_for_good(
    slots: int, seconds: float | None
) -> None:
    plan = Plan(**{**HALVING, "trials": 100, "patience": 5, "seconds": seconds})
    losses = [1.0, *(2.0 + number / 100 for number in range(100))]
    played = Player(policy_of(plan, slots=slots), in_order(losses), slots).play()
    assert len(played.all_progress) < 12
    assert played.policy.stop and played.policy.stop.reason is StopReason.PATIENCE
    assert max(rounds_of(played)) == 9, "the best goes on to its end"
    assert sum(rounds_of(played)) < 40, "and the others do not"
