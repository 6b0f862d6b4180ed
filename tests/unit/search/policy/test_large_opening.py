"""One large network with dropout is begun in time, and not compared before it shows its worth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lstm_sweep.models.config import Config, TrialConfig, as_lstm_config
from lstm_sweep.models.size import parameters
from lstm_sweep.search.policy.cost import DataSize, prior_seconds
from lstm_sweep.search.policy.lstm_problem import (
    FEWEST_ROUNDS,
    MOST_OF_TIME,
    has_room,
    rounds_to_read,
    usual_network,
)
from lstm_sweep.search.policy.problem import LargeNetwork, admits_all
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
    each_slots,
    play,
    usual,
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
        LargeNetwork(one.evolve(learning_rate=best), 1, 3, 9) for one in (LARGE, MEDIUM)
    ),
}


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
def test_it_is_begun_once_others_are_worth_something_and_trains_until_it_may_lead(
    slots: int,
) -> None:
    played = play(PLAN, LONGER, curves=late, slots=slots, **KNOWN)
    large, *_ = large_ones(played)
    assert len(large.rounds) == 12 and large.best_loss == 0.5
    rate = as_lstm_config(large.trial.config).learning_rate
    assert large.trial.config == LARGE.evolve(learning_rate=rate)
    shown = [one for one in played.of(Phase.SEARCH) if one.began < large.began]
    assert any(len(one.rounds) >= 3 for one in shown)


@pytest.mark.parametrize("rounds, windows", [(12, 50), (10_000, 40)])
def test_it_has_longer_windows_if_there_is_time_until_they_pay(rounds: int, windows: int) -> None:
    def large(best: float) -> list[LargeNetwork]:
        short = LARGE.evolve(learning_rate=best)
        longer = LargeNetwork(short.evolve(sequence_length=50), rounds, 3, 9)
        return [longer, LargeNetwork(short, 1, 3, 9)]

    own = large_ones(play(PLAN, LONGER, slots=2, **{**KNOWN, "large_openings": large}))
    assert [as_lstm_config(one.trial.config).sequence_length for one in own] == [windows]


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
