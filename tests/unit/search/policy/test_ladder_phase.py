from __future__ import annotations

import pytest

from lstm_sweep.search.policy.plan import Plan
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.policy.problem import LadderLength
from lstm_sweep.search.progress import TrialProgress
from lstm_sweep.search.trial import Ended, Outcome
from tests.unit.search.policy.player import course_of, policy_of, with_rounds


def test_a_rate_whose_trial_is_lost_and_tried_again_has_not_failed() -> None:
    policy = policy_of(Plan(trials=10))
    highest, middle, low = (begun(policy) for _ in range(3))
    policy.end(highest.with_end(Ended(Outcome.DIVERGED), 1.0))
    policy.lose(low.with_end(Ended(Outcome.LOST), 2.0))
    assert policy.end(with_loss(middle, 2.0)) == []
    assert policy.ladder is None
    again = course_of(low.trial.next_attempt())
    policy.begin(again)
    policy.end(with_loss(again, 1.5))
    assert policy.ladder is None  # a lower one may be better still
    policy.end(with_loss(begun(policy), 1.8))
    assert policy.ladder and policy.ladder.best == 0.01


@pytest.mark.parametrize("rounds", [6, None])  # None: each to its own end, as in a template
def test_a_rate_that_stopped_early_makes_no_other_shorter_when_a_sweep_goes_on(
    rounds: int | None,
) -> None:
    plan = Plan(trials=10, early_stopping=2)
    first, again = (policy_of(plan, ladder_length=lambda *_: LadderLength(rounds)) for _ in "12")
    stuck = begun(first)
    while (ended := first.judge(stuck)) is None:
        stuck = with_rounds(stuck, {"val_loss": 2.9})
    assert isinstance(ended, Ended) and len(stuck.rounds) == 3
    again.restore([stuck.with_end(ended, 3.0)], [], extended=False)
    following = begun(again)
    for number in range(1, 9):
        following = with_rounds(following, {"val_loss": 2.5 - 0.1 * number})
        assert bool(again.judge(following)) is (number == rounds)


def begun(policy: Policy) -> TrialProgress:
    """The next trial, once it has begun."""
    trial = policy.next()
    assert trial
    policy.begin(course_of(trial))
    return course_of(trial)


def with_loss(progress: TrialProgress, loss: float) -> TrialProgress:
    """The trial once it has ended with that loss."""
    return with_rounds(progress, {"val_loss": loss}).with_end(Ended(Outcome.COMPLETE), 9.0)
