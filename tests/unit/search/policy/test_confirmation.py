"""Further runs of the best configs: whole ones, or none and why."""

from __future__ import annotations

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.policy.confirmation import GRACE_S, Confirmation
from lstm_sweep.search.policy.cost import ObservedCosts
from lstm_sweep.search.policy.plan import Plan
from lstm_sweep.search.policy.trials import Slots, Trials
from lstm_sweep.search.progress import TrialSnapshot
from lstm_sweep.search.trial import Ended, Outcome, Trial
from tests.unit.search.policy.player import SMALL, course_of, problem_of, with_rounds


def first_run(number: int, rounds: int, loss: float, ended: Ended | None = None) -> TrialSnapshot:
    """A trial of the search whose rounds take 10 s each and have the same loss."""
    config = TrialConfig(epochs=99, layer_size=16 * (number + 1))
    course = course_of(Trial(sweep="s", number=number, config=config, seed=0))
    done = with_rounds(course, *[{"val_loss": loss, "round_seconds": 10.0}] * rounds)
    return (done.with_end(ended, 10.0 * rounds) if ended else done).snapshot()


def confirmation(seconds: float, *known: TrialSnapshot, slots: int = 1) -> Confirmation:
    problem = problem_of(SMALL, first_rung=1, judged_from=lambda config: 1)
    plan = Plan(seconds=seconds, trials=50)
    return Confirmation(plan, problem, Trials(known), ObservedCosts(), Slots(slots))


@pytest.mark.parametrize(("slots", "seconds"), [(1, 160.0), (2, 80.0)])
@pytest.mark.parametrize(("share", "kept"), [(1.0, 0), (1.2, 2)])
def test_whole_further_runs_of_the_best_are_kept_for_or_none(
    slots: int, seconds: float, share: float, kept: int
) -> None:
    """Two runs of two rounds of 10 s take a quarter of the time, one after the other or not."""
    best = first_run(0, 2, 2.0, Ended(Outcome.STOPPED))
    again = confirmation(share * seconds, best, slots=slots)
    reserve = again.reserve(share * seconds)
    assert reserve.trials == kept
    assert reserve.seconds <= 0.25 * share * seconds + GRACE_S
    assert again.most_rounds(best) == 2


def test_where_the_best_takes_too_long_no_other_is_trained_again_for_it() -> None:
    best, other = (first_run(n, 9 - 8 * n, 2.0 + n, Ended(Outcome.STOPPED)) for n in (0, 1))
    again = confirmation(160.0, best, other)
    assert again.reserve(160.0).trials == 0
    assert again.omitted() == (
        "s/0 was not trained again: 2 further runs of it take about 180 s, and a quarter of the "
        "time, 40 s, is kept for that"
    )


@pytest.mark.parametrize(
    ("trials", "configs", "why"),
    [(7, 3, "s/0 was not trained again: that needs 8 trials or more"), (8, 3, ""), (7, 0, "")],
)
def test_a_sweep_of_few_trials_says_that_they_were_too_few_to_train_one_again(
    trials: int, configs: int, why: str
) -> None:
    best = first_run(0, 30, 2.0, Ended(Outcome.COMPLETE))
    plan = Plan(trials=trials, confirm_configs=configs)
    again = Confirmation(plan, problem_of(SMALL), Trials([best]), ObservedCosts(), Slots(2))
    assert again.omitted() == why


@pytest.mark.parametrize(("trials", "left"), [(0, "no trial was left"), (40, "no time was left")])
def test_a_sweep_says_what_was_not_left_to_train_its_best_config_again(
    trials: int, left: str
) -> None:
    best = first_run(0, 30, 2.0, Ended(Outcome.COMPLETE))
    plan = Plan(seconds=6000.0, trials=50)
    problem = problem_of(SMALL, pausable=False)
    again = Confirmation(plan, problem, Trials([best]), ObservedCosts(), Slots(2))
    again.begin(trials)
    assert again.omitted().endswith(f" s, and {left}")
