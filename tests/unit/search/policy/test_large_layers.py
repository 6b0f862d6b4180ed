"""Layers that are larger than usual."""

from __future__ import annotations

import pytest

from lstm_sweep.models.config import Config, TrialConfig, as_lstm_config
from lstm_sweep.models.size import parameters
from lstm_sweep.search.policy.cost import DataSize, prior_seconds
from lstm_sweep.search.policy.large_opening import (
    FEWEST_ROUNDS,
    MOST_OF_TIME,
    has_room,
    rounds_to_read,
)
from lstm_sweep.search.policy.problem import admits_all
from lstm_sweep.search.policy.round_size import usual_network
from lstm_sweep.spaces.presets import DEFAULT

SIZE = DataSize(27_000_000, 100, 4_000, 99, adjacent=24)


def least_seconds(units: int) -> float:
    """Seconds of a sweep in which the usual network with two layers of so many units has room."""
    large = network(units)
    return rounds_to_read(large, SIZE) * prior_seconds(large, SIZE) / MOST_OF_TIME


def network(units: int) -> TrialConfig:
    """The usual network with two layers of so many units."""
    return usual_network(DEFAULT, admits_all).evolve(layers=2, layer_size=units)


@pytest.mark.parametrize("units", [512, 1024])
def test_there_is_room_where_there_is_time_to_read_enough(units: int) -> None:
    least = least_seconds(units)
    assert has_room(units, DEFAULT, SIZE, 1.01 * least, admits_all)
    assert not has_room(units, DEFAULT, SIZE, 0.99 * least, admits_all)
    assert least_seconds(1024) > 12 * least_seconds(512)  # four times the symbols and the cost


def test_a_network_needs_twenty_symbols_for_each_parameter_and_several_rounds() -> None:
    large, a_round = network(1024), SIZE.symbols / SIZE.rounds_per_epoch
    read = rounds_to_read(large, SIZE) * a_round
    assert read == pytest.approx(20 * parameters(large, SIZE.alphabet))
    assert rounds_to_read(network(32), SIZE) == FEWEST_ROUNDS


def test_there_is_none_for_networks_that_are_not_admitted() -> None:
    def admits(config: Config) -> bool:
        return as_lstm_config(config).layer_size < 1024

    assert has_room(512, DEFAULT, SIZE, 10 * least_seconds(1024), admits)
    assert not has_room(1024, DEFAULT, SIZE, 10 * least_seconds(1024), admits)
