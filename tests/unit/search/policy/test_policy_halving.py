from __future__ import annotations

import pytest

from lstm_sweep.search.policy import halving
from lstm_sweep.search.policy.plan import Plan
from lstm_sweep.search.trial import Ended, Outcome, Phase
from tests.unit.search.policy.player import (
    PLAIN,
    SMALL,
    always,
    course_of,
    in_order,
    play,
    policy_of,
    problem_of,
    with_rounds,
)


def test_the_search_prunes_trials_that_fall_behind_and_says_why() -> None:
    played = play(Plan(trials=40), pausable=False)
    pruned = [c for c in played.of(Phase.SEARCH) if c.ended and c.ended.outcome is Outcome.PRUNED]
    assert len(pruned) > 10
    rungs = halving.rungs(9, problem_of().first_rung)
    assert {len(progress.rounds) for progress in pruned} <= set(rungs)
    for progress in pruned:
        assert progress.ended and progress.best_loss
        start = f"pruned at epoch {len(progress.rounds)}: {progress.best_loss:.4g} is not among"
        assert progress.ended.reason.startswith(start)


def test_two_go_on_from_the_first_rung_and_one_from_the_next() -> None:
    """Each is worse than the one before: of the first three to come two pass the first rung."""
    plan = Plan(**{**PLAIN, "trials": 3, "halving": True})
    played = play(
        plan, SMALL, curves=in_order([1.0, 2.0, 3.0]), slots=1, first_rung=1, pausable=False
    )
    assert [len(progress.rounds) for progress in played.all_progress] == [9, 3, 1]


@pytest.mark.parametrize(
    "losses, patience, epochs, reason",
    [
        ([2, 1, 1, 1, 1, 1, 1, 1, 1], 3, 5, "no better since epoch 2"),
        ([2, 1, 1.5, 1.4, 1.3, 1.2, 1.1, 1, 1], 5, 7, "no better since epoch 2"),
        ([2, 1, 1, 1, 1, 1, 1, 1, 1], 1, 3, "no better since epoch 2"),
        ([2, 1, 1, 1, 1, 1, 1, 1, 1], 0, 9, ""),  # switched off
        ([2, 1.9, 1.8, 1.7, 1.6, 1.5, 1.4, 1.3, 1.2], 1, 9, ""),  # always better
        ([2, 1, 1, 1, 0.9, 0.9, 0.9, 0.9, 0.9], 4, 9, ""),  # just in time, and then at the end
    ],
)
def test_a_trial_that_is_no_better_for_some_epochs_is_complete(
    losses: list[float], patience: int, epochs: int, reason: str
) -> None:
    plan = Plan(**{**PLAIN, "trials": 2, "early_stopping": patience})
    for progress in play(plan, SMALL, curves=always(*losses)).all_progress:
        assert len(progress.rounds) == epochs
        assert progress.ended == Ended(Outcome.COMPLETE, reason)


def test_a_trial_is_ended_once() -> None:
    policy = policy_of(Plan(**{**PLAIN, "early_stopping": 1}), SMALL)
    trial = policy.next()
    assert trial
    progress = course_of(trial)
    policy.begin(progress)
    progress = with_rounds(progress, {"val_loss": 1.0}, {"val_loss": 1.0})
    assert policy.judge(progress) == Ended(Outcome.COMPLETE, "no better since epoch 1")
    progress = with_rounds(progress, {"val_loss": 1.0})  # one more came before it was stopped
    assert policy.judge(progress) is None
