"""Which config an oracle has, and what it is run as."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.contest_records import Event
from benchmarks.oracle import EPOCHS, has_reached, oracle_config, oracle_loss, settings_of
from benchmarks.oracle_records import Run
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.errors import InputError
from lstm_sweep.spaces.presets import DEFAULT
from lstm_sweep.spaces.space import with_settings

FOUND = TrialConfig(layer_size=96, direction="bi").to_dict()
SEARCH = Run("search", 0, "d", 20.0, 2, "", 1, 100, FOUND, [(1.0, 2.0)])


def test_a_config_that_is_given_has_defaults_in_the_other_fields() -> None:
    config = oracle_config(["layer_size=256", "learning_rate=0.002"], None, None, [SEARCH])
    assert config == TrialConfig(layer_size=256, learning_rate=0.002).to_dict()


def test_else_it_is_the_best_that_a_search_has_found() -> None:
    assert oracle_config([], None, None, [SEARCH]) == FOUND


@pytest.mark.parametrize("setting", ["layer_size=64,128", "dropout=0..0.5"])
def test_a_field_has_one_value(setting: str) -> None:
    with pytest.raises(InputError, match="expected one value"):
        oracle_config([setting], None, None, [])


def test_as_settings_of_a_space_the_config_is_the_only_one_and_has_time() -> None:
    settings = [part for part in settings_of(FOUND) if part != "--set"]
    points = list(with_settings(DEFAULT, settings).points())
    assert points == [TrialConfig.from_dict({**FOUND, "epochs": EPOCHS})]


def test_a_search_until_its_oracle_is_over_at_the_oracles_lowest_loss() -> None:
    oracle = dataclasses.replace(SEARCH, kind="oracle", seed=1, improvements=[(5, 1.5), (9, 1.4)])
    assert oracle_loss([SEARCH, oracle], 1) == 1.4
    assert oracle_loss([SEARCH, oracle], 0) is None
    events = [Event(0.0, "a", 0, None, {}), Event(1.0, "a", 1, 1.45, {})]
    assert not has_reached(1.4, lambda: events)
    assert has_reached(1.4, lambda: [*events, Event(2.0, "b", 1, 1.4, {})])
    assert not has_reached(None, lambda: [*events, Event(2.0, "b", 1, 1.4, {})])
