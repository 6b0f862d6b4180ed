from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_sweep.search.policy.plan import ALGORITHMS, Plan
from lstm_sweep.search.policy.stop_reason import all_trials
from lstm_sweep.search.trial import Ended, Outcome, Phase
from tests.unit.search.policy.player import (
    PLAIN,
    SMALL,
    SPACE,
    course_of,
    each_plan,
    each_slots,
    play,
    policy_of,
    reason_of,
    with_rounds,
)


@each_plan
@each_slots
def test_phases_follow_each_other_and_numbers_too(plan: Plan, slots: int) -> None:
    all_progress = play(plan, slots=slots).all_progress
    assert [progress.trial.number for progress in all_progress] == list(range(len(all_progress)))
    order = [Phase.LADDER, Phase.SEARCH, Phase.CONFIRM]
    phases = [order.index(progress.trial.phase) for progress in all_progress]
    assert phases == sorted(phases)
    assert (0 in phases) == plan.ladder and 1 in phases


@each_plan
@each_slots
def test_no_config_is_tried_twice_except_to_confirm_it(plan: Plan, slots: int) -> None:
    played = play(plan, slots=slots)
    tried = [c.trial.config for c in played.of(Phase.LADDER) + played.of(Phase.SEARCH)]
    assert len(set(tried)) == len(tried)
    spaces = (SPACE, played.policy.space)  # the second has rates between those of the first
    assert all(any(space.admits(config) for space in spaces) for config in tried)
    assert {c.trial.config for c in played.of(Phase.CONFIRM)} <= set(tried)


@each_plan
def test_a_sweep_is_a_pure_function_of_its_plan_and_what_trials_do(plan: Plan) -> None:
    plan = replace(plan, trials=18)
    assert play(plan, slots=3).story == play(plan, slots=3).story


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
    trials: int,
    slots: int,
    seed: int,
    halving: bool,
    confirm: tuple[int, int],
    algorithm: str,
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


def test_a_trial_that_was_lost_is_tried_again_under_its_number() -> None:
    policy = policy_of(Plan(**{**PLAIN, "trials": 3, "early_stopping": 1}), SMALL)
    first = policy.next()
    assert first
    lost = course_of(first)
    policy.begin(lost)
    lost = with_rounds(lost, {"val_loss": 2.0})
    policy.judge(lost)
    policy.lose(lost.with_end(Ended(Outcome.LOST), 1.0))
    again = course_of(first.next_attempt())
    policy.begin(again)
    assert policy.trials == (again.snapshot(),)
    following = policy.next()
    assert following and following.number == 1 and following.config != first.config
    again = with_rounds(again, {"val_loss": 2.0}, {"val_loss": 2.0})
    assert policy.judge(again) == Ended(Outcome.COMPLETE, "no better since epoch 1")


def test_what_becomes_of_a_trial_outside_changes_nothing_that_a_policy_holds() -> None:
    policy = policy_of(Plan(**{**PLAIN, "trials": 9}), SMALL)
    trial = policy.next()
    assert trial
    epochs: list[dict[str, float]] = []
    progress = replace(course_of(trial), rounds=epochs)
    policy.begin(progress)
    epochs.append({"val_loss": 1.0})
    [held] = policy.trials
    assert (held.rounds, held.ended, policy.objective_values()) == ((), None, {})
    policy.objective_values()[0] = 0.5
    with pytest.raises(AttributeError):
        held.ended = Ended(Outcome.COMPLETE)  # type: ignore[misc]
    policy.end(progress.with_end(Ended(Outcome.COMPLETE), 1.0))
    [now] = policy.trials
    assert (now.best_loss, held.ended) == (1.0, None)
    assert policy.objective_values() == {0: 1.0}
