from __future__ import annotations

import pytest

from lstm_sweep.search.policy.plan import Plan
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.policy.problem import LadderLength
from lstm_sweep.search.progress import TrialProgress
from lstm_sweep.search.trial import Ended
from tests.unit.search.policy.player import course_of, policy_of, with_rounds


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
