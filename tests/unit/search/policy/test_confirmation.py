"""Further runs of the best configs: whole ones, or none and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.policy.confirmation import (
    GRACE_S,
    Confirmation,
    compare,
    confirmed,
)
from lstm_sweep.search.policy.cost import Costs
from lstm_sweep.search.policy.problem import SearchProblem
from lstm_sweep.search.policy.stopping import NO_RESULT
from lstm_sweep.search.policy.trials import Trials
from lstm_sweep.search.values.spec import Plan
from lstm_sweep.search.values.sweep import Confirmed
from lstm_sweep.search.values.trial import Ended, Outcome, Phase, Trial
from tests.unit.search.policy.player import (
    SMALL,
    always,
    course_of,
    play,
    problem_of,
    with_rounds,
)


def first_run(number: int, rounds: int, loss: float, ended: Ended | None = None) -> Trial:
    """A trial of the search whose rounds take 10 s each and have the same loss."""
    config = TrialConfig(epochs=99, layer_size=16 * (number + 1))
    course = course_of(Trial(sweep="s", number=number, config=config, seed=0))
    done = with_rounds(course, *[{"val_loss": loss, "round_seconds": 10.0}] * rounds)
    return done.with_end(ended, 10.0 * rounds) if ended else done


def confirmation(seconds: float, *known: Trial, slots: int = 1) -> Confirmation:
    problem = problem_of(SMALL, first_rung=1, judged_from=lambda config: 1)
    return of_plan(Plan(seconds=seconds, trials=50), *known, problem=problem, slots=slots)


def of_plan(
    plan: Plan, *known: Trial, problem: SearchProblem | None = None, slots: int = 2
) -> Confirmation:
    trials = Trials(slots)
    for one in known:
        trials.put(one)
    return Confirmation(plan, problem or problem_of(SMALL), trials, Costs())


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
    assert of_plan(plan, best).omitted() == why


def first(number: int, loss: float, steps: int | None = None) -> Trial:
    """A first run; one of the ladder if it took so many steps."""
    phase = Phase.LADDER if steps else Phase.SEARCH
    one = course_of(
        Trial(sweep="s", number=number, config=TrialConfig(), seed=0, phase=phase, steps=steps)
    )
    return with_rounds(one, {"val_loss": loss}).with_end(Ended(Outcome.COMPLETE), 1.0)


def again(number: int, *losses: float, best: bool = False, **more: Any) -> Confirmed:
    return Confirmed(f"s/{number}", 1.0, losses, is_best=best, **more)


def test_the_config_of_the_best_trial_comes_first_and_those_of_which_seeds_failed_last() -> None:
    best, lower, higher = again(1, 1.5, 1.6, best=True), again(2, 1.3, 1.31), again(3, 1.9, 1.8)
    failed = again(4, 1.0, failed={Outcome.DIVERGED: 2})
    none = again(5, failed={Outcome.HUNG: 3})
    found = compare([none, failed, higher, lower, best])
    assert [one.trial for one in found] == ["s/1", "s/2", "s/3", "s/4", "s/5"]


@pytest.mark.parametrize(
    ("losses", "p", "words"),
    [
        # Welch's t for (2.0, 2.1, 2.2) against (1.0, 1.1, 1.2): t = 1 / sqrt(0.02 / 3), 4 degrees
        ((2.0, 2.1, 2.2), 0.000255, "; worse: p = 0.00026"),
        ((0.0, 0.1, 0.2), 0.000255, "; better over further seeds: p = 0.00026"),
        # t = 0.05 / sqrt(0.02 / 3) = 0.612, 4 degrees of freedom
        ((1.05, 1.15, 1.25), 0.573, "; as good: p = 0.57"),
    ],
)
def test_configs_are_compared_with_that_of_the_best_trial_by_welchs_t_test(
    losses: tuple[float, ...], p: float, words: str
) -> None:
    best, other = compare([again(1, 1.0, 1.1, 1.2, best=True), again(2, *losses)])
    assert best.p is None and "p =" not in str(best)
    assert other.p == pytest.approx(p, rel=0.01)
    assert str(other).endswith(words)
    assert [one.to_dict()["verdict"] for one in (best, other)] == ["the best", other.verdict]
    of_one_seed = compare([again(1, 1.0, best=True), again(2, 2.0)])
    assert [one.p for one in of_one_seed] == [None, None]


@pytest.mark.parametrize(
    ("losses", "failed", "said"),
    [
        ([1.2], {}, "1.2000 over 1 further seed"),
        ([1.2], {Outcome.DIVERGED: 2}, "1.2000 over 1 of 3 further seeds; 2 diverged"),
        ([1.2, 1.4], {Outcome.OUT_OF_MEMORY: 1},
         "1.3000 +- 0.1414 over 2 of 3 further seeds; 1 out of memory"),
        ([], {Outcome.DIVERGED: 2, Outcome.HUNG: 1},
         "no loss of 3 further seeds; 2 diverged, 1 hung"),
    ],
)  # fmt: skip
def test_seeds_that_failed_are_counted_and_said(
    losses: list[float], failed: dict[Outcome, int], said: str
) -> None:
    found = again(1, *losses, failed=failed)
    assert str(found) == f"s/1: {said}, first run 1.0000"
    written = found.to_dict()
    assert written["failed"] == {str(outcome): count for outcome, count in failed.items()}
    assert (written["mean"] is None) == (not losses)


@pytest.mark.parametrize(
    ("outcome", "epochs", "counts"),
    [
        (Outcome.COMPLETE, 1, True),
        (Outcome.STOPPED, 3, True),  # as many as the first run needed for its lowest loss
        (Outcome.STOPPED, 2, False),
    ],
)
def test_a_further_run_that_was_cut_short_counts_from_the_best_epoch_of_the_first_on(
    outcome: Outcome, epochs: int, counts: bool
) -> None:
    losses = [2.0, 1.5, 1.0, 1.2]
    leader = replace(first(0, 1.0), rounds=tuple({"val_loss": loss} for loss in losses))
    further = replace(
        first(1, 1.0),
        seed=1,
        phase=Phase.CONFIRM,
        rounds=tuple({"val_loss": loss} for loss in losses[:epochs]),
        ended=Ended(outcome),
    )
    [found] = confirmed([leader, further], leader.config)
    assert found.losses == ((min(losses[:epochs]),) if counts else ()) and found.is_best
    assert found.failed == ({} if counts else {outcome: 1})


@pytest.mark.parametrize(
    ("runs", "chosen"),
    [
        ((first(1, 2.2, steps=60), first(4, 1.5)), 4),
        ((first(1, 1.4, steps=60), first(4, 1.5)), 4),  # its loss is of another length
        ((first(2, 1.6), first(4, 1.5), first(5, 1.7)), 4),
        ((first(1, 2.2, steps=60), first(2, 2.1, steps=60)), 2),  # nobody else has trained it
    ],
)
def test_a_config_that_was_tried_several_times_is_confirmed_once_beside_its_best_whole_run(
    runs: tuple[Trial, ...], chosen: int
) -> None:
    further = first(9, 1.55)
    further = replace(further, seed=1, phase=Phase.CONFIRM)
    found = confirmed([*runs, further], None)
    assert [(one.trial, one.losses) for one in found] == [(f"s/{chosen}", (1.55,))]


@pytest.mark.parametrize(
    "trials, configs, seeds, expected",
    [
        (50, 3, 3, [3, 3, 3]),
        (50, 2, 4, [4, 4]),
        (50, 1, 3, [3]),
        (20, 3, 3, [3, 2]),  # a quarter is five: two configs, of which each has at least two
        (12, 3, 3, [3]),
        (8, 3, 3, [2]),
        (7, 3, 3, []),  # there is room for one, which would say nothing
        (50, 0, 3, []),
        (50, 3, 1, [1, 1, 1]),
    ],
)
def test_the_best_configs_are_confirmed_with_at_most_a_quarter_of_the_budget(
    trials: int, configs: int, seeds: int, expected: list[int]
) -> None:
    plan = Plan(trials=trials, algorithm="random", confirm_configs=configs, confirm_seeds=seeds)
    played = play(plan, slots=1)
    counts = Counter(progress.config for progress in played.of(Phase.CONFIRM))
    assert sorted(counts.values(), reverse=True) == expected
    assert len(played.all_progress) == trials


def test_the_best_that_have_ended_are_trained_again_with_other_seeds_and_all_epochs() -> None:
    played = play(Plan(trials=36, algorithm="random"))
    tried = played.of(Phase.LADDER) + played.of(Phase.SEARCH)
    losses = sorted(c.ranked_loss for c in tried if c.ranked_loss is not None)
    assert [progress.ranked_loss for progress in played.policy.confirmation.to_confirm()] == losses[
        :3
    ]
    leaders = {progress.config for progress in played.policy.confirmation.to_confirm()}
    again = played.of(Phase.CONFIRM)
    assert {progress.config for progress in again} == leaders
    seeds = [c.seed for c in played.all_progress if c.config in leaders]
    assert len(set(seeds)) == len(seeds)
    assert {len(progress.rounds) for progress in again} == {9}
    assert {progress.ended for progress in again} == {Ended(Outcome.COMPLETE)}


def test_where_every_trial_fails_nothing_is_confirmed() -> None:
    played = play(Plan(trials=20), curves=always(outcome=Outcome.ERROR))
    assert played.of(Phase.CONFIRM) == []
    assert played.policy.stop == NO_RESULT
    assert len(played.all_progress) == 15  # and what was kept for confirming is not used
