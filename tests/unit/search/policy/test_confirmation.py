"""How long further runs are where there is little time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.policy.confirmation import Confirmation
from lstm_sweep.search.policy.cost import ObservedCosts
from lstm_sweep.search.policy.plan import Plan
from lstm_sweep.search.policy.slots import Slots
from lstm_sweep.search.policy.trials import Trials
from lstm_sweep.search.progress import TrialSnapshot
from lstm_sweep.search.trial import Ended, Outcome, Phase, Trial
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
    again = Confirmation(plan, problem, Trials([leader]), ObservedCosts(), Slots(2))
    again.begin(40, 0.25 * seconds, leader)
    assert (again.going_on == 0) == goes_on
    if rounds is not None:
        assert again.most_rounds(leader) == rounds
        assert again.next(0.25 * seconds) == leader
    else:
        assert again.next(0.25 * seconds) is None


def first_run(number: int, rounds: int, loss: float, ended: Ended | None = None) -> TrialSnapshot:
    """A trial of the search whose rounds take 10 s each and have the same loss."""
    config = TrialConfig(epochs=99, layer_size=16 * (number + 1))
    course = course_of(Trial(sweep="s", number=number, config=config, seed=0))
    done = with_rounds(course, *[{"val_loss": loss, "round_seconds": 10.0}] * rounds)
    return (done.with_end(ended, 10.0 * rounds) if ended else done).snapshot()


def test_the_config_of_the_leader_that_goes_on_is_confirmed_though_it_is_not_yet_the_best() -> None:
    best = first_run(0, 30, 2.0, Ended(Outcome.STOPPED))
    leader = first_run(1, 6, 2.1)
    problem = problem_of(SMALL, first_rung=1, judged_from=lambda config: 1)
    trials = Trials([best, leader])
    again = Confirmation(Plan(seconds=600.0, trials=50), problem, trials, ObservedCosts(), Slots(2))
    again.begin(40, 150.0, leader)
    assert again.going_on == 1
    assert again.next(150.0) == leader and again.most_rounds(leader) == 6
    alone = Confirmation(Plan(seconds=600.0, trials=50), problem, trials, ObservedCosts(), Slots(2))
    alone.begin(40, 150.0)
    assert alone.next(150.0) == best and alone.most_rounds(best) == 13


@pytest.mark.parametrize(("left", "rounds", "trials"), [(100.0, 4, 2), (20.0, 1, 1)])
def test_the_best_is_confirmed_though_it_was_not_when_the_search_ended(
    left: float, rounds: int, trials: int
) -> None:
    cheap, dear = first_run(0, 3, 2.0, Ended(Outcome.STOPPED)), first_run(1, 30, 2.1)
    problem = problem_of(SMALL, first_rung=1, judged_from=lambda config: 1)
    known = Trials([cheap, dear])
    again = Confirmation(Plan(seconds=400.0, trials=50), problem, known, ObservedCosts(), Slots(1))
    again.begin(40, 100.0)
    better = first_run(1, 31, 1.9, Ended(Outcome.STOPPED))
    known.put(better)
    assert again.next(left) == better and again.most_rounds(better) == rounds
    for number in range(trials):
        assert not again.full
        further = replace(better.trial, number=2 + number, phase=Phase.CONFIRM)
        known.put(replace(better, trial=further))
    assert again.full


@pytest.mark.parametrize(("left", "rounds"), [(52.0, 5), (51.9, 4)])
def test_runs_of_the_best_that_just_do_not_fit_are_shorter(left: float, rounds: int) -> None:
    """Those of another one would fit: two at a time take 50 s and 30 s, and 2 s until they end."""
    best, other = (first_run(n, 5 - 2 * n, 2.0 + n, Ended(Outcome.STOPPED)) for n in (0, 1))
    problem = problem_of(SMALL, first_rung=1, judged_from=lambda config: 1)
    known = Trials([best, other])
    again = Confirmation(Plan(seconds=260.0, trials=50), problem, known, ObservedCosts(), Slots(2))
    again.begin(40, 60.0)
    assert again.next(left) == best and again.most_rounds(best) == rounds


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


@pytest.mark.parametrize(("trials", "left"), [(0, "no trial was left"), (40, "none were left")])
def test_a_sweep_says_what_was_not_left_to_train_its_best_config_again(
    trials: int, left: str
) -> None:
    best = first_run(0, 30, 2.0, Ended(Outcome.COMPLETE))
    plan = Plan(seconds=6000.0, trials=50)
    problem = problem_of(SMALL, pausable=False)
    again = Confirmation(plan, problem, Trials([best]), ObservedCosts(), Slots(2))
    again.begin(trials, 1.0)
    assert again.omitted().endswith(f" s, and {left}")


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_sweep_says_why_its_best_config_was_not_trained_again(goes_on: bool) -> None:
    best, leader = first_run(0, 30, 2.0, Ended(Outcome.STOPPED)), first_run(1, 6, 2.1)
    problem = problem_of(SMALL, first_rung=1, judged_from=lambda config: 1)
    known = Trials([best, leader])
    again = Confirmation(Plan(seconds=600.0, trials=50), problem, known, ObservedCosts(), Slots(2))
    again.begin(40, 150.0, leader if goes_on else None)
    assert again.next(150.0) == (leader if goes_on else best)
    if not goes_on:  # and another one is better in the end
        best = first_run(2, 40, 1.9, Ended(Outcome.STOPPED))
        known.put(best)
    why = f"{leader.trial.id} was expected to be" if goes_on else "it was not yet"
    assert again.omitted() == f"{best.trial.id} was not trained again: {why} the best" + (
        "" if goes_on else " when that began"
    )


@pytest.mark.parametrize("is_best", [False, True])
def test_a_trial_that_went_on_and_is_not_trained_again_is_no_reason_by_itself(
    is_best: bool,
) -> None:
    best = first_run(0, 30, 2.0, Ended(Outcome.STOPPED))
    problem = problem_of(SMALL, first_rung=1, judged_from=lambda config: 1)
    again = Confirmation(
        Plan(seconds=600.0, trials=50), problem, Trials([best]), ObservedCosts(), Slots(2)
    )
    again.begin(40, 150.0, first_run(0, 6, 2.1) if is_best else first_run(1, 6, 2.1))
    assert again.going_on == (0 if is_best else 1)  # 1 was lost, and is not known again
    why = (
        "no further run of it has a loss" if is_best else "it was not yet the best when that began"
    )
    assert again.omitted() == f"{best.trial.id} was not trained again: {why}"


def taken_up(most: int | None, *, of_leader: bool) -> tuple[Confirmation, TrialSnapshot]:
    """How a further run goes on that was broken off while a trial of the search was under way.

    It has so many rounds at most, and it is one of that trial or of the best, which has had 6.
    """
    best, searched = first_run(0, 6, 2.0, Ended(Outcome.STOPPED)), first_run(1, 3, 2.1)
    problem = problem_of(SMALL, first_rung=1, judged_from=lambda config: 1)
    plan = Plan(seconds=600.0, trials=50)
    again = Confirmation(plan, problem, Trials([best]), ObservedCosts(), Slots(2))
    again.begin(40)
    first = searched if of_leader else best
    further = replace(first.trial, number=2, phase=Phase.CONFIRM, most_rounds=most)
    again.take_up([searched.trial, further])
    return again, first


def test_a_trial_that_goes_on_is_known_by_its_shorter_further_runs_when_a_sweep_goes_on() -> None:
    again, leader = taken_up(3, of_leader=True)
    assert again.going_on == leader.trial.number
    assert again.most_rounds(leader) == 3


@pytest.mark.parametrize("most", [None, 4, 6])
def test_another_trial_that_was_under_way_does_not_go_on_when_a_sweep_does(
    most: int | None,
) -> None:
    again, best = taken_up(most, of_leader=False)
    assert again.going_on is None
    assert again.most_rounds(best) == (most or 6)
    kept = again.reserve(150.0)
    assert bool(kept.shortened) == (most == 4)
    assert kept.trials == (2 if most == 4 else 9)


def test_short_further_runs_stay_short_though_the_first_has_ended_by_itself_after_as_many() -> None:
    """When a sweep goes on; usually they are as long as they like then."""
    best = first_run(0, 6, 2.0, Ended(Outcome.COMPLETE))
    problem = problem_of(SMALL, first_rung=1, judged_from=lambda config: 1)
    plan, known = Plan(seconds=600.0, trials=50), Trials([best])
    again = Confirmation(plan, problem, known, ObservedCosts(), Slots(1))
    again.begin(40)
    assert again.most_rounds(best) is None
    again.take_up([replace(best.trial, number=2, phase=Phase.CONFIRM, most_rounds=6)])
    assert again.most_rounds(best) == 6


def test_a_further_run_that_was_lost_and_waits_to_be_tried_again_is_one_run() -> None:
    best = first_run(0, 6, 2.0, Ended(Outcome.STOPPED))
    problem = problem_of(SMALL, first_rung=1, judged_from=lambda config: 1)
    known = Trials([best])
    again = Confirmation(Plan(seconds=600.0, trials=50), problem, known, ObservedCosts(), Slots(1))
    again.begin(40)
    one, other = (
        replace(best.trial, number=number, phase=Phase.CONFIRM, most_rounds=3) for number in (2, 3)
    )
    known.put(replace(best, trial=one, ended=Ended(Outcome.LOST)))
    known.put(replace(best, trial=other))
    again.take_up([one.next_attempt()])
    assert again.full
