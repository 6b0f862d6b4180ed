"""How long further runs are where there is little time."""

from __future__ import annotations

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.policy.confirmation import Confirmation
from lstm_sweep.search.policy.cost import ObservedCosts
from lstm_sweep.search.policy.plan import Plan
from lstm_sweep.search.policy.trials import Trials
from lstm_sweep.search.trial import Trial
from tests.unit.search.policy.player import SMALL, course_of, problem_of, with_rounds


@pytest.mark.parametrize(
    ("seconds", "rounds", "goes_on"),
    [
        (200.0, 2, True),  # two runs of 20 s, one after the other
        (90.0, 1, False),  # on one slot none would fit, on both one of 10 s does
        (40.0, None, False),
    ],
)
def test_the_leader_goes_on_only_if_further_runs_fit_beside_it(
    seconds: float, rounds: int | None, goes_on: bool
) -> None:
    trial = Trial(sweep="s", number=0, config=TrialConfig(epochs=9), seed=0)
    progress = with_rounds(course_of(trial), *[{"val_loss": 2.0, "round_seconds": 10.0}] * 8)
    leader = progress.snapshot()
    plan = Plan(seconds=seconds, trials=50)
    problem = problem_of(SMALL, first_rung=1, judged_from=lambda config: 1)
    again = Confirmation(plan, problem, Trials([leader]), ObservedCosts(), 2)
    again.begin(40, 0.25 * seconds, leader)
    assert (again.going_on == 0) == goes_on
    if rounds is not None:
        assert again.most_rounds(leader) == rounds
        assert again.next(0.25 * seconds) == leader
    else:
        assert again.next(0.25 * seconds) is None
