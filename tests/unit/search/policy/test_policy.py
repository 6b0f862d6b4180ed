"""What holds of any sweep that is played to its end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_sweep.search.policy.stopping import all_trials
from lstm_sweep.search.values.spec import ALGORITHMS, Plan
from lstm_sweep.search.values.trial import Phase, trial_seed
from tests.unit.search.policy.player import SPACE, each_plan, each_slots, play, reason_of


@each_plan
@each_slots
@pytest.mark.parametrize("rounds_per_epoch", [1, 4])
def test_phases_follow_each_other_and_each_config_is_tried_once(
    plan: Plan, slots: int, rounds_per_epoch: int
) -> None:
    played = play(plan, slots=slots, rounds_per_epoch=rounds_per_epoch)
    all_progress = played.all_progress
    for number, progress in enumerate(all_progress):
        assert (progress.trial.number, progress.trial.id) == (number, f"s/{number}")
        assert progress.trial.seed == trial_seed(plan.seed, number)
        assert progress.trial.rounds_per_epoch == rounds_per_epoch
        assert plan.seconds is None or progress.began + progress.seconds <= plan.seconds
    order = [Phase.LADDER, Phase.SEARCH, Phase.CONFIRM]
    phases = [order.index(progress.trial.phase) for progress in all_progress]
    assert phases == sorted(phases) and len(phases) <= plan.trials
    assert (0 in phases) == plan.ladder and 1 in phases
    tried = [c.trial.config for c in played.of(Phase.LADDER) + played.of(Phase.SEARCH)]
    assert len(set(tried)) == len(tried)
    spaces = (SPACE, played.policy.space)  # the second has rates between those of the first
    assert all(any(space.admits(config) for space in spaces) for config in tried)
    assert {c.trial.config for c in played.of(Phase.CONFIRM)} <= set(tried)


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
    assert [progress.trial.number for progress in played.all_progress] == list(range(trials))
    assert reason_of(played.policy) == all_trials(trials).text
    assert played.policy.next(played.now) is None
    confirmed = len(played.of(Phase.CONFIRM))
    assert confirmed <= min(trials / 4, confirm[0] * confirm[1])
