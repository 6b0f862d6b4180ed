"""One large network with dropout is begun in time, and not compared before it shows its worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lstm_sweep.models.config import Config, TrialConfig, as_lstm_config
from lstm_sweep.models.size import parameters
from lstm_sweep.search.policy.cost import DataSize, ObservedCosts, prior_seconds
from lstm_sweep.search.policy.halving import Pausing
from lstm_sweep.search.policy.large_opening import (
    BEGUN_AFTER,
    FEWEST_ROUNDS,
    MOST_OF_TIME,
    LargeOpening,
    has_room,
    rounds_to_read,
)
from lstm_sweep.search.policy.lstm_problem import usual_network
from lstm_sweep.search.policy.problem import LargeNetwork, admits_all
from lstm_sweep.search.policy.trials import Slots, Trials
from lstm_sweep.search.values.progress import TrialProgress
from lstm_sweep.search.values.spec import Plan
from lstm_sweep.search.values.trial import Outcome, Phase, Trial
from lstm_sweep.spaces.dimension import Listed
from lstm_sweep.spaces.presets import DEFAULT
from lstm_sweep.spaces.space import Space
from tests.unit.search.policy.player import (
    SPACE,
    Curve,
    Played,
    course_of,
    each_slots,
    play,
    problem_of,
    usual,
    with_rounds,
)

LARGE = TrialConfig(layers=2, layer_size=64, dropout=0.125, epochs=12)
MEDIUM = LARGE.evolve(layer_size=48)
PLAN = Plan(trials=60, seconds=240.0)
#: rungs are 1, 3 and 9 epochs
LONGER = Space({**SPACE, "epochs": Listed("epochs", (12,))})
KNOWN: dict[str, Any] = {
    "first_rung": 1,
    "judged_from": lambda config: 1,
    "large_openings": lambda best: tuple(
        LargeNetwork(one.evolve(learning_rate=best)) for one in (LARGE, MEDIUM)
    ),
}
#: in longer windows, for which there have to be eleven epochs
LONGER_WINDOWS = LARGE.evolve(sequence_length=50)
IN_LONGER = LargeNetwork(LONGER_WINDOWS, 11)


def large_ones(played: Played) -> list[TrialProgress]:
    return [one for one in played.of(Phase.SEARCH) if is_large(one.trial.config)]


def is_large(config: Config) -> bool:
    """Whether it is one of these; of others few have this dropout by chance."""
    own = as_lstm_config(config)
    return own.dropout == LARGE.dropout and own.layers == 2 and own.layer_size >= 48


def late(trial: Trial) -> Curve:
    """As usual, but the large network is far behind until the rung at which it is compared."""
    curve = usual(trial)
    return replace(curve, losses=[2.9] * 8 + [0.5] * 4) if is_large(trial.config) else curve


@each_slots
def test_it_trains_until_it_may_lead_however_far_it_is_behind(slots: int) -> None:
    large, *_ = large_ones(play(PLAN, LONGER, curves=late, slots=slots, **KNOWN))
    assert len(large.rounds) == 12 and large.best_loss == 0.5


def test_one_that_is_behind_then_waits_and_is_ranked_as_it_is_then() -> None:
    def behind(trial: Trial) -> Curve:
        return replace(usual(trial), losses=[2.9] * 12) if is_large(trial.config) else usual(trial)

    [large] = large_ones(play(PLAN, LONGER, curves=behind, slots=1, **KNOWN))
    assert len(large.rounds) == 9 and large.ended
    assert large.ended.outcome is Outcome.PRUNED
    of_that_rung = "it waited at epoch 9: loss 2.9000, number 1 of 1 there"
    assert large.ended.reason == of_that_rung


@pytest.mark.parametrize(
    "plan",
    [
        replace(PLAN, seconds=None),  # which share of the time it takes is not known
        replace(PLAN, halving=False),  # all are trained to their end there
        replace(PLAN, ladder=False),  # no rate is known that suits it
        replace(PLAN, seconds=30.0),  # less than nine epochs of the smaller one take
    ],
)
def test_a_sweep_without_time_halving_or_ladder_has_none(plan: Plan) -> None:
    assert large_ones(play(plan, LONGER, slots=2, **KNOWN)) == []


class EachASecond(ObservedCosts):
    """A round of any network takes a second, and starting it none."""

    def trial_seconds(self, config: Config, rounds: int) -> float:
        return float(rounds)


def opening_of(
    plan: Plan = PLAN, slots: int = 1, longer: Sequence[LargeNetwork] = ()
) -> tuple[LargeOpening, Trials]:
    """One whose networks are known; an epoch of each takes a second."""
    problem, trials = problem_of(LONGER, first_rung=1), Trials()
    pausing = Pausing(problem, trials, (count := Slots(slots)), lambda: np.full(9, np.nan))
    large = LargeOpening(plan, problem, trials, EachASecond(), pausing, count)
    large.choose_among((*longer, LargeNetwork(LARGE), LargeNetwork(MEDIUM)))
    return large, trials


def with_another(trials: Trials, rounds: int, phase: Phase = Phase.SEARCH) -> None:
    """A trial that has so many rounds."""
    other = Trial(sweep="s", number=0, config=TrialConfig(), seed=0, phase=phase)
    done = with_rounds(course_of(other), *[{"val_loss": 2.0, "round_seconds": 1.0}] * rounds)
    trials.put(done)


def test_it_is_begun_once_another_has_shown_what_a_trial_is_worth() -> None:
    large, trials = opening_of()
    for rounds in range(BEGUN_AFTER):
        with_another(trials, rounds)
        assert large.next(admits_all, 100.0) is None
    with_another(trials, 2 * BEGUN_AFTER, Phase.LADDER)
    assert large.next(admits_all, 100.0) is None, "one of the ladder shows nothing"
    with_another(trials, BEGUN_AFTER)
    assert large.next(admits_all, 100.0) == LARGE
    assert large.next(admits_all, 8.0) is None, "too little time is left"
    assert large.next(lambda config: config == MEDIUM, 100.0) == MEDIUM


def test_it_has_longer_windows_if_there_is_time_until_they_pay() -> None:
    large, trials = opening_of(longer=[IN_LONGER])
    with_another(trials, BEGUN_AFTER)
    assert large.next(admits_all, 11.0) == LONGER_WINDOWS
    assert large.next(admits_all, 10.9) == LARGE
    assert large.next(lambda config: config == MEDIUM, 100.0) == MEDIUM, "no other is admitted"


@pytest.mark.parametrize(
    "judged_from, rung", [(1, 1), (2, 3), (5, 3), (6, 9), (9, 9), (15, 9), (16, None)]
)
def test_one_that_says_when_is_begun_then_and_compared_at_the_nearest_rung(
    judged_from: int, rung: int | None
) -> None:
    own = LargeNetwork(MEDIUM.evolve(dropout=0.0), begun_after=1, judged_from=judged_from)
    large, trials = opening_of(longer=[own])
    with_another(trials, 0)
    assert large.next(admits_all, 100.0) is None
    with_another(trials, 1)
    found = [left for left in (1, 3, 9) if large.next(admits_all, left) == own.config]
    assert min(found, default=None) == rung


@pytest.mark.parametrize("config", [MEDIUM, LONGER_WINDOWS])
def test_there_is_one_at_most_in_whichever_windows(config: TrialConfig) -> None:
    large, trials = opening_of(longer=[IN_LONGER])
    with_another(trials, BEGUN_AFTER)
    large.recognize(course_of(Trial(sweep="s", number=1, config=config, seed=1)))
    assert large.next(admits_all, 100.0) is None


@pytest.mark.parametrize("slots, seconds", [(1, 45.0), (2, 22.5), (4, 22.5)])
def test_its_epochs_take_a_share_of_the_time_at_most(slots: int, seconds: float) -> None:
    """Nine epochs take 9 s: a fifth of what all slots have, and two fifths of the time."""
    for each, expected in ((1.01 * seconds, LARGE), (0.99 * seconds, None)):
        large, trials = opening_of(replace(PLAN, seconds=each), slots)
        with_another(trials, BEGUN_AFTER)
        assert large.next(admits_all, each) == expected


def test_the_search_is_not_over_while_it_may_still_become_the_best() -> None:
    """The budget of trials is spent and all others have ended, but it runs."""
    plan = replace(PLAN, trials=12, confirm_configs=1, confirm_seeds=2)
    played = play(plan, LONGER, curves=late, **KNOWN)
    [large] = large_ones(played)
    again = played.of(Phase.CONFIRM)
    assert again and min(one.began for one in again) >= large.began + large.seconds
    assert {one.trial.config for one in again} == {large.trial.config}


SIZE = DataSize(27_000_000, 100, 4_000, 99, adjacent=24)


def network(units: int) -> TrialConfig:
    """The usual network with two layers of so many units."""
    return usual_network(DEFAULT, admits_all).evolve(layers=2, layer_size=units)


def least_seconds(units: int) -> float:
    """Seconds of a sweep in which the usual network with two layers of so many units has room."""
    large = network(units)
    return rounds_to_read(large, SIZE) * prior_seconds(large, SIZE) / MOST_OF_TIME


@pytest.mark.parametrize("units", [512, 1024])
def test_there_is_room_where_there_is_time_to_read_enough(units: int) -> None:
    least = least_seconds(units)
    assert has_room(units, DEFAULT, SIZE, 1.01 * least, admits_all)
    assert not has_room(units, DEFAULT, SIZE, 0.99 * least, admits_all)
    assert not has_room(units, DEFAULT, SIZE, None, admits_all)
    assert not has_room(units, DEFAULT, SIZE, 2 * least, lambda config: False)


def test_a_network_needs_twenty_symbols_for_each_parameter_and_several_rounds() -> None:
    large, a_round = network(1024), SIZE.symbols / SIZE.rounds_per_epoch
    read = rounds_to_read(large, SIZE) * a_round
    assert read == pytest.approx(20 * parameters(large, SIZE.alphabet))
    assert rounds_to_read(network(32), SIZE) == FEWEST_ROUNDS
