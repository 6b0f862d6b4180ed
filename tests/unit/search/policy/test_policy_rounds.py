"""Several rounds an epoch: what a policy decides within one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.policy.cost import DataSize, steps_per_epoch
from lstm_sweep.search.policy.lstm_problem import FEWEST_STEPS, lstm_problem, smallest
from lstm_sweep.search.policy.plan import Plan
from lstm_sweep.search.policy.problem import LadderLength
from lstm_sweep.search.trial import Ended, Outcome, Phase, Slot, Trial
from lstm_sweep.spaces import presets
from tests.unit.search.policy.player import (
    PLAIN,
    SMALL,
    SPACE,
    Curve,
    Curves,
    course_of,
    each_plan,
    each_slots,
    play,
    policy_of,
    with_rounds,
)

ROUNDS = 4


def falling(first: Sequence[float]) -> Curves:
    """Trials that begin with these losses, by their number, and get better with each round."""

    def curve(trial: Trial) -> Curve:
        begin = first[min(trial.number, len(first) - 1)]
        return Curve([begin - 0.001 * number for number in range(trial.rounds)], seconds=0.25)

    return curve


def test_a_bad_trial_is_ended_before_its_first_epoch_is_over() -> None:
    plan = Plan(**{**PLAIN, "trials": 3, "halving": True})
    curves = falling([1.0, 2.0, 3.0])
    played = play(
        plan, SMALL, curves=curves, slots=2, first_rung=1, rounds_per_epoch=ROUNDS,
        judged_from=lambda config: 1,
    )  # fmt: skip
    assert [len(progress.rounds) for progress in played.all_progress] == [9 * ROUNDS, 1, 1]
    last = played.all_progress[-1].ended
    assert last and last.outcome is Outcome.PRUNED
    assert last.reason == "it waited at epoch 0.25: loss 3.0000, number 3 of 3 there"


def test_a_trial_of_the_ladder_takes_a_part_of_an_epoch() -> None:
    length = LadderLength(3)
    played = play(
        Plan(trials=10), slots=1, ladder_length=lambda *_: length, rounds_per_epoch=ROUNDS
    )
    survived = [one for one in played.of(Phase.LADDER) if one.rounds]
    assert {len(one.rounds) for one in survived} == {3}
    assert survived[0].ended == Ended(Outcome.COMPLETE, "0.75 epochs, as all trials of the ladder")


@pytest.mark.parametrize("rounds", [1, 3, 10, 60])
def test_the_first_rung_is_the_steps_that_it_needs_and_no_round_more(rounds: int) -> None:
    size = DataSize(10_000_000, alphabet=90, targets=2_000, rounds_per_epoch=rounds)
    problem = lstm_problem(presets.DEFAULT, size, unigram_loss=3.0)
    small = smallest(presets.DEFAULT, 90, lambda config: True)
    middle = {
        name: presets.DEFAULT[name].value_at(0.5) for name in ("sequence_length", "batch_size")
    }
    steps = steps_per_epoch(small.evolve(**middle), size) / rounds
    assert problem.first_rung == math.ceil(FEWEST_STEPS / steps)
    assert problem.rounds == 27 * rounds


@pytest.mark.parametrize("patience, rounds", [(1, 6), (2, 10), (0, 36)])
def test_early_stopping_counts_epochs(patience: int, rounds: int) -> None:
    plan = Plan(**{**PLAIN, "trials": 1, "early_stopping": patience})
    losses = [2.0, 1.0] + [1.5] * 34
    [progress] = play(
        plan, SMALL, curves=lambda trial: Curve(losses), rounds_per_epoch=ROUNDS
    ).all_progress
    assert len(progress.rounds) == rounds
    assert progress.ended
    assert progress.ended.reason == ("no better since epoch 0.5" if patience else "")


@each_plan
@each_slots
def test_the_budget_is_kept(plan: Plan, slots: int) -> None:
    played = play(plan, SPACE, slots=slots, rounds_per_epoch=ROUNDS)
    assert len(played.all_progress) <= plan.trials
    assert all(one.trial.rounds_per_epoch == ROUNDS for one in played.all_progress)
    if plan.seconds is not None:
        assert max(one.began + one.seconds for one in played.all_progress) <= plan.seconds


def test_what_tpe_is_told_is_the_loss_at_the_end_of_all_rounds() -> None:
    played = play(
        Plan(**{**PLAIN, "trials": 3, "halving": True}), SMALL, curves=falling([1.0, 2.0, 3.0]),
        slots=1, first_rung=1, rounds_per_epoch=ROUNDS,
    )  # fmt: skip
    told = played.policy.objective_values()
    first = played.all_progress[0]
    assert told[0] == first.best_loss == pytest.approx(1 - 0.001 * (9 * ROUNDS - 1))
    assert told[0] < told[1] < told[2] < 3.0


def test_a_config_with_few_steps_in_a_round_is_judged_once_it_has_taken_enough() -> None:
    size = DataSize(1_000_000, alphabet=90, targets=2_000, rounds_per_epoch=20)
    problem = lstm_problem(presets.DEFAULT, size, unigram_loss=3.0)
    small = TrialConfig(sequence_length=20, batch_size=16)
    assert problem.judged_from(small) == 1
    large = TrialConfig(sequence_length=160, batch_size=64)  # 98 steps an epoch
    assert problem.judged_from(large) == math.ceil(FEWEST_STEPS / (98 / 20)) == 11
    assert problem.judged_from(large.evolve(batch_size=256)) == 20  # an epoch at most
    whole = lstm_problem(presets.DEFAULT, replace(size, rounds_per_epoch=1), unigram_loss=3.0)
    assert whole.judged_from(large.evolve(batch_size=256)) == 1


def test_before_that_a_trial_is_not_paused() -> None:
    plan = Plan(**{**PLAIN, "trials": 3, "halving": True})
    played = play(
        plan, SMALL, curves=falling([1.0, 2.0, 3.0]), slots=2, first_rung=1,
        rounds_per_epoch=ROUNDS, judged_from=lambda config: 2,
    )  # fmt: skip
    assert [len(progress.rounds) for progress in played.all_progress] == [9 * ROUNDS, 2, 2]


def test_rounds_that_come_after_a_verdict_do_not_count_at_later_rungs() -> None:
    plan = Plan(**{**PLAIN, "trials": 4, "halving": True})
    policy = policy_of(plan, SMALL, slots=4, first_rung=1, pausable=False)
    trials = [course_of(trial, Slot(n)) for n in range(4) if (trial := policy.next())]
    for one in trials:
        policy.begin(one)
    verdicts = []
    for place, losses in enumerate([[1.0, 1.0, 1.0], [2.0] * 3, [3.0] * 3, [4.0] * 3]):
        one = trials[place]
        for loss in losses[: 1 if place == 1 else 3]:
            one = with_rounds(one, {"val_loss": loss})
            verdicts.append((place, policy.judge(one)))
        trials[place] = one
    assert [place for place, verdict in verdicts if verdict] == [2, 3]  # after their first rounds
    one = with_rounds(trials[1], {"val_loss": 2.0})
    assert policy.judge(one) is None
    verdict = policy.judge(with_rounds(one, {"val_loss": 2.0}))
    assert isinstance(verdict, Ended) and verdict.reason.endswith(
        "2 is not among the best of 2 at this rung"
    )
