"""Which trials wait, go on, and end before their last epoch, at rungs that may lie in the first."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.policy.cost import DataSize, steps_per_epoch
from lstm_sweep.search.policy.halving import Halving
from lstm_sweep.search.policy.lstm_problem import FEWEST_STEPS, lstm_problem, smallest
from lstm_sweep.search.policy.problem import Trials
from lstm_sweep.search.values.spec import Plan
from lstm_sweep.search.values.sweep import StopReason
from lstm_sweep.search.values.trial import Ended, Outcome, Trial
from lstm_sweep.spaces import presets
from tests.simulated import Simulation
from tests.unit.search.policy.player import (
    PLAIN,
    SMALL,
    Curve,
    course_of,
    in_order,
    play,
    problem_of,
    with_rounds,
)

HALVING: dict[str, Any] = {**PLAIN, "halving": True}
ROUNDS = 4


@pytest.mark.parametrize(
    "loss, others, rounds, why",
    [
        (2.0, [], 3, ""),
        (2.5, [2.0], 3, "pruned at epoch 3: 2.5 is not among the best of 2 at this rung"),
        (2.5, [2.0], 1, ""),  # at the first rung two go on
        (2.5, [2.0], 2, ""),  # there is no rung
        (2.2, [2.0, 2.5, 2.4], 3, ""),
        (1.25, [1.0, 1.1, 2, 2, 2], 3,
         "pruned at epoch 3: 1.25 is not among the best 2 of 6 at this rung"),
        (1.25, [1.0, 1.1, 2, 2, 2, 2], 3, ""),  # of seven the best three: a part is a place
        (2.0, [2.0, 2.0], 3, ""),  # equals are no better than one another
    ],
)  # fmt: skip
def test_a_trial_that_cannot_be_paused_goes_on_if_it_is_among_the_best_third(
    loss: float, others: list[float], rounds: int, why: str
) -> None:
    problem = problem_of(SMALL, pausable=False, first_rung=1)
    halving = Halving(problem, Trials())
    for number, each in enumerate([*others, loss]):
        one = course_of(Trial(sweep="s", number=number, config=TrialConfig(epochs=9), seed=0))
        one = with_rounds(one, *[{"val_loss": each}] * rounds)
        halving.put(one)
    assert halving.judge(one) == (Ended(Outcome.PRUNED, why) if why else None)


@pytest.mark.parametrize("rounds", [1, 3, 10, 60])
def test_the_first_rung_is_the_steps_that_it_needs_and_no_round_more(rounds: int) -> None:
    size = DataSize(10_000_000, alphabet=90, targets=2_000, rounds_per_epoch=rounds)
    problem = lstm_problem(presets.DEFAULT, size, untrained_loss=3.0)
    small = smallest(presets.DEFAULT, 90, lambda config: True)
    middle = {
        name: presets.DEFAULT[name].value_at(0.5) for name in ("sequence_length", "batch_size")
    }
    steps = steps_per_epoch(small.evolve(**middle), size) / rounds
    assert problem.first_rung == math.ceil(FEWEST_STEPS / steps)
    assert problem.rounds == 27 * rounds


@pytest.mark.parametrize("rounds_per_epoch", [1, ROUNDS])
@pytest.mark.parametrize(
    "losses, patience, epochs, since",
    [
        ([2, 1, 1, 1, 1, 1, 1, 1, 1], 3, 5, "2"),
        ([2, 1, 1.5, 1.4, 1.3, 1.2, 1.1, 1, 1], 5, 7, "2"),
        ([2, 1, 1, 1, 1, 1, 1, 1, 1], 0, 9, ""),  # switched off
        ([2, 1.9, 1.8, 1.7, 1.6, 1.5, 1.4, 1.3, 1.2], 1, 9, ""),  # always better
        ([2, 1, 1, 1, 0.9, 0.9, 0.9, 0.9, 0.9], 4, 9, ""),  # just in time, and then at the end
        ([math.nan] * 9, 2, 9, ""),  # as long as it has no loss
    ],
)
def test_a_trial_that_is_no_better_for_some_epochs_is_complete(
    losses: list[float], patience: int, epochs: int, since: str, rounds_per_epoch: int
) -> None:
    """The best loss of an epoch comes with its last round."""
    plan = Plan(**{**PLAIN, "trials": 2, "early_stopping": patience})
    curve = [loss + left for loss in losses for left in reversed(range(rounds_per_epoch))]
    played = play(plan, SMALL, curves=lambda trial: Curve(curve), rounds_per_epoch=rounds_per_epoch)
    for progress in played.trials:
        assert len(progress.rounds) == epochs * rounds_per_epoch
        assert progress.ended == Ended(Outcome.COMPLETE, since and f"no better since epoch {since}")


def halved(
    losses: list[float], slots: int = 2, rounds_per_epoch: int = 1, **plan: Any
) -> Simulation:
    """A sweep whose trials have these losses, and are compared from the first round on."""
    known: dict[str, Any] = {"first_rung": 1, "rounds_per_epoch": rounds_per_epoch}
    given = Plan(**{**HALVING, **plan})
    return play(given, SMALL, curves=in_order(losses), slots=slots, **known)


def rounds_of(played: Simulation) -> list[int]:
    return [len(one.rounds) for one in played.trials]


@pytest.mark.parametrize("slots", [1, 2])
def test_the_best_is_trained_to_its_end_and_all_others_wait_until_the_search_is_over(
    slots: int,
) -> None:
    played = halved([3.0, 2.0, 1.0], slots, ROUNDS, trials=3)
    *others, best = rounds_of(played)
    assert best == 9 and max(others) < 9, "they led only until the better one came"
    outcomes = [one.ended and one.ended.outcome for one in played.trials]
    assert outcomes == [Outcome.PRUNED, Outcome.PRUNED, Outcome.COMPLETE]
    assert f"epoch {others[0] / ROUNDS:g}: loss 3.0000" in played.trials[0].reason


@pytest.mark.parametrize("seconds", [None, 10_000.0])
def test_one_that_waits_is_promoted_once_enough_are_behind_it(seconds: float | None) -> None:
    """On two slots the first leads; the second is one of the best third when six have come.

    With time left, too: `trials` is a limit of its own.
    """
    played = halved([1.0, 1.1, 5.0, 5.1, 5.2, 5.3], trials=6, seconds=seconds)
    assert [trial.number for trial in played.placed].count(1) == 2
    assert rounds_of(played) == [9, 3, 1, 1, 1, 1]
    assert played.now < 100


@pytest.mark.parametrize("slots", [1, 2])
def test_where_all_configs_are_tried_before_the_budget_is_spent_all_go_on(slots: int) -> None:
    played = halved([3.0 - number / 100 for number in range(12)], slots, trials=50)
    assert rounds_of(played) == [9] * 12
    assert played.policy.stop and played.policy.stop.reason is StopReason.SPACE


def test_a_single_slot_is_for_the_leader_for_half_of_the_time() -> None:
    played = halved([1.0 + number / 10 for number in range(12)], slots=1, trials=12)
    own = [place for place, trial in enumerate(played.placed) if trial.number == 0]
    assert len(own) == 3, "it goes from rung to rung: 1, 3 and 9 epochs"
    assert 1 <= own[1] < own[2] - 2


@pytest.mark.parametrize("seconds", [None, 10_000.0])
@pytest.mark.parametrize("slots", [1, 2])
def test_patience_counts_trials_that_wait_and_ends_the_search_for_good(
    slots: int, seconds: float | None
) -> None:
    plan = Plan(**{**HALVING, "trials": 100, "patience": 5, "seconds": seconds})
    losses = [1.0, *(2.0 + number / 100 for number in range(100))]
    played = play(plan, curves=in_order(losses), slots=slots)
    assert len(played.trials) < 12
    assert played.policy.stop and played.policy.stop.reason is StopReason.PATIENCE
    assert max(rounds_of(played)) == 9, "the best goes on to its end"
    assert sum(rounds_of(played)) < 40, "and the others do not"
