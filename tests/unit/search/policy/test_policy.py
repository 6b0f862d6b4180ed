"""What holds of any sweep that is played to its end, and with what a search begins."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_sweep.models.config import Config, TrialConfig, as_lstm_config
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.policy.problem import EarlierBest, described
from lstm_sweep.search.policy.stopping import all_trials
from lstm_sweep.search.values.spec import ALGORITHMS, Plan
from lstm_sweep.search.values.trial import Phase, trial_seed
from lstm_sweep.spaces.space import Space
from tests.unit.search.policy.player import (
    PLAIN,
    SMALL,
    SPACE,
    Player,
    each_plan,
    each_slots,
    play,
    policy_of,
    reason_of,
    usual,
)


@each_plan
@each_slots
@pytest.mark.parametrize("rounds_per_epoch", [1, 4])
def test_phases_follow_each_other_and_each_config_is_tried_once(
    plan: Plan, slots: int, rounds_per_epoch: int
) -> None:
    played = play(plan, slots=slots, rounds_per_epoch=rounds_per_epoch)
    all_progress = played.all_progress
    for number, progress in enumerate(all_progress):
        assert (progress.number, progress.id) == (number, f"s/{number}")
        assert progress.seed == trial_seed(plan.seed, number)
        assert progress.rounds_per_epoch == rounds_per_epoch
        assert plan.seconds is None or progress.began + progress.seconds <= plan.seconds
    order = [Phase.LADDER, Phase.SEARCH, Phase.CONFIRM]
    phases = [order.index(progress.phase) for progress in all_progress]
    assert phases == sorted(phases) and len(phases) <= plan.trials
    assert (0 in phases) == plan.ladder and 1 in phases
    tried = [c.config for c in played.of(Phase.LADDER) + played.of(Phase.SEARCH)]
    assert len(set(tried)) == len(tried)
    spaces = (SPACE, played.policy.space)  # the second has rates between those of the first
    assert all(any(space.admits(config) for space in spaces) for config in tried)
    assert {c.config for c in played.of(Phase.CONFIRM)} <= set(tried)


@each_plan
def test_a_sweep_is_a_pure_function_of_its_plan_and_what_trials_do(plan: Plan) -> None:
    plan = replace(plan, trials=18)
    one, same, other = (play(replace(plan, seed=seed), slots=3) for seed in (0, 0, 1))
    assert one.story == same.story != other.story


@settings(max_examples=25)
@given(
    trials=st.integers(1, 30),
    slots=st.integers(1, 6),
    seed=st.integers(0, 2**32),
    halving=st.booleans(),
    confirm=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    algorithm=st.sampled_from(ALGORITHMS),
)
def test_a_budget_of_trials_is_spent_to_the_last_one(
    trials: int, slots: int, seed: int, halving: bool, confirm: tuple[int, int], algorithm: str
) -> None:
    plan = Plan(
        trials=trials,
        seed=seed,
        halving=halving,
        confirm_configs=confirm[0],
        confirm_seeds=confirm[1],
        algorithm=algorithm,
    )
    played = play(plan, slots=slots)
    assert [progress.number for progress in played.all_progress] == list(range(trials))
    assert reason_of(played.policy) == all_trials(trials).text
    assert played.policy.next(played.now) is None
    confirmed = len(played.of(Phase.CONFIRM))
    assert confirmed <= min(trials / 4, confirm[0] * confirm[1])


#: one with a rate that suits it, and one with a rate at which the ladder learns nothing
SUITED = TrialConfig(layers=2, layer_size=32, learning_rate=0.003, epochs=12, dropout=0.11)
TOO_HIGH = SUITED.evolve(layers=1, layer_size=48, learning_rate=1.0, dropout=0.22)


def searched(policy: Policy) -> list[TrialConfig]:
    played = Player(policy, usual, 1).play()
    return [as_lstm_config(one.config) for one in played.of(Phase.SEARCH)]


def test_they_come_before_the_usual_openings_with_rates_that_suit() -> None:
    first, second, *others = searched(policy_of(Plan(trials=20), slots=1, prior=[SUITED, TOO_HIGH]))
    assert first == SUITED.evolve(epochs=9)  # as this space has them
    assert second == TOO_HIGH.evolve(epochs=9, learning_rate=second.learning_rate)
    assert 0.001 < second.learning_rate < 0.02
    usually = searched(policy_of(Plan(trials=20), slots=1))
    assert others[:4] == usually[:4]


def test_without_the_prior_a_search_is_as_if_nothing_were_known() -> None:
    plan = Plan(trials=20, prior=False)
    assert searched(policy_of(plan, slots=1, prior=[SUITED])) == searched(
        policy_of(Plan(trials=20), slots=1)
    )


def test_what_is_not_admitted_or_lies_outside_of_the_space_is_left_out() -> None:
    def admits(config: Config) -> bool:
        return as_lstm_config(config).dropout != SUITED.dropout

    prior = [SUITED, SUITED.evolve(layers=16, dropout=0.3)]
    found = searched(policy_of(Plan(trials=20), slots=1, admits=admits, prior=prior))
    assert found == searched(policy_of(Plan(trials=20), slots=1, admits=admits))


@pytest.mark.parametrize("space, plan", [(SMALL, {}), (SPACE, {"ladder": False})])
def test_without_a_ladder_they_have_the_rates_that_they_had(
    space: Space, plan: dict[str, Any]
) -> None:
    config = as_lstm_config(space.middle())
    found = searched(policy_of(Plan(**(PLAIN | plan), trials=6), space, 1, prior=[config]))
    assert found[0] == config


def test_a_line_says_what_a_search_begins_with() -> None:
    assert described([]) == []
    [one] = described([EarlierBest("a/4", SUITED)])
    assert one == "prior: begins with the best config of an earlier sweep on these data (a/4)"
    [two] = described([EarlierBest("b/9", TOO_HIGH), EarlierBest("a/4", SUITED)])
    assert two == "prior: begins with the best configs of 2 earlier sweeps on these data (b/9, a/4)"


@pytest.mark.parametrize("slots", [1, 4])
def test_a_sweep_searches_as_if_it_had_begun_with_the_slots_that_it_has(slots: int) -> None:
    plan = Plan(trials=500, seconds=200.0, ladder=False)  # a ladder lasts as slots were at first
    policy = policy_of(plan, slots=2)
    policy.slots = slots
    played = Player(policy, usual, slots).play()
    assert played.story == play(plan, slots=slots).story and len(played.story) > 3
