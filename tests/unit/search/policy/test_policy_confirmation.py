from __future__ import annotations

from collections import Counter

import pytest

from lstm_sweep.search.policy.plan import Plan
from lstm_sweep.search.policy.stop_reason import NO_RESULT
from lstm_sweep.search.trial import Ended, Outcome, Phase, Trial
from tests.unit.search.policy.player import Curve, always, play


@pytest.mark.parametrize(
    "trials, configs, seeds, expected",
    [
        (50, 3, 3, [3, 3, 3]),
        (36, 3, 3, [3, 3, 3]),
        (50, 2, 4, [4, 4]),
        (50, 1, 3, [3]),
        (20, 3, 3, [3, 2]),  # a quarter is five: two configs, of which each has at least two
        (16, 3, 3, [2, 2]),
        (12, 3, 3, [3]),
        (8, 3, 3, [2]),
        (7, 3, 3, []),  # there is room for one, which would say nothing
        (50, 0, 3, []),
        (50, 3, 0, []),
        (50, 1, 1, [1]),
    ],
)
def test_the_best_configs_are_confirmed_with_at_most_a_quarter_of_the_budget(
    trials: int, configs: int, seeds: int, expected: list[int]
) -> None:
    plan = Plan(trials=trials, algorithm="random", confirm_configs=configs, confirm_seeds=seeds)
    played = play(plan, slots=1)
    counts = Counter(progress.trial.config for progress in played.of(Phase.CONFIRM))
    assert sorted(counts.values(), reverse=True) == expected
    assert len(played.all_progress) == trials


def test_a_config_is_confirmed_with_no_more_seeds_than_were_asked_for() -> None:
    def one(trial: Trial) -> Curve:
        good = trial.number == 0 or trial.phase is Phase.CONFIRM
        return Curve([2.0] * 9) if good else Curve([], Outcome.ERROR)

    plan = Plan(trials=40, ladder=False, early_stopping=0, confirm_configs=3, confirm_seeds=3)
    played = play(plan, curves=one)
    assert len(played.of(Phase.CONFIRM)) <= 3


def test_a_confirmation_has_the_same_config_another_seed_and_all_epochs() -> None:
    played = play(Plan(trials=36, algorithm="random"))
    leaders = {progress.trial.config for progress in played.policy.to_confirm}
    confirmed = played.of(Phase.CONFIRM)
    assert {progress.trial.config for progress in confirmed} == leaders
    seeds = [c.trial.seed for c in played.all_progress if c.trial.config in leaders]
    assert len(set(seeds)) == len(seeds)
    assert {len(progress.rounds) for progress in confirmed} == {9}
    assert {progress.ended for progress in confirmed} == {Ended(Outcome.COMPLETE)}


def test_leaders_are_the_best_that_have_ended_and_were_not_confirmations() -> None:
    played = play(Plan(trials=36, algorithm="random"))
    tried = played.of(Phase.LADDER) + played.of(Phase.SEARCH)
    losses = sorted(c.ranked_loss for c in tried if c.ranked_loss is not None)
    assert [progress.ranked_loss for progress in played.policy.to_confirm] == losses[:3]


def test_where_every_trial_fails_nothing_is_confirmed() -> None:
    played = play(Plan(trials=20), curves=always(outcome=Outcome.ERROR))
    assert played.of(Phase.CONFIRM) == []
    assert played.policy.stop == NO_RESULT
    assert len(played.all_progress) == 15  # and what was kept for confirming is not used
