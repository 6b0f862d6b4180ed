"""The first proposals spread over a space; later ones follow the losses."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest

from lstm_sweep.models.config import Config, as_lstm_config
from lstm_sweep.models.size import SizeRule
from lstm_sweep.search.policy.proposer import STARTUP, Observation, Proposer
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.dimension import Range
from lstm_sweep.spaces.space import Space
from tests.unit.search.policy.proposals import FREE, asked, configs, search


def fits(config: Config) -> bool:
    """Whether a config suits a corpus of a million symbols."""
    return SizeRule().judge(as_lstm_config(config), 90, 1_000_000).admitted


def test_the_first_trials_spread_over_the_space() -> None:
    rates = presets.DEFAULT["learning_rate"].values() or []
    for seed in range(20):
        first = configs(search(Proposer(presets.DEFAULT, seed=seed), STARTUP))
        assert len(set(first)) == STARTUP
        assert Counter(config.direction for config in first) == {"uni": 5, "bi": 5}
        assert Counter(config.layers for config in first) == {2: 5, 3: 5}
        counts = Counter(config.learning_rate for config in first)
        assert set(counts) == set(rates) and max(counts.values()) <= 3


def test_the_first_trials_are_admitted_and_spread_over_what_is_left() -> None:
    for seed in range(20):
        first = configs(search(Proposer(presets.DEFAULT, seed=seed, admits=fits), 8))
        assert len(set(first)) == 8 and all(fits(config) for config in first)
        assert 2 <= Counter(config.direction for config in first)["uni"] <= 6
        assert 2 <= Counter(config.layers for config in first)[2] <= 6


def test_the_first_trials_spread_over_numbers_too() -> None:
    space = Space({"dropout": Range("dropout", 0.0, 0.8)})
    for seed in range(20):
        proposer = Proposer(space, seed=seed)
        first = sorted(t.point["dropout"] for t in search(proposer, STARTUP))
        # a point in each tenth of the range
        assert [int(STARTUP * dropout / 0.8) for dropout in first] == list(range(STARTUP))


def test_trials_that_came_before_take_the_place_of_first_ones() -> None:
    proposer = Proposer(FREE, seed=3)
    first = configs(search(proposer, STARTUP))
    seen = [
        Observation(number, FREE.decode(point), point, 1.0)
        for number in range(STARTUP - 1)
        for point in [{"dropout": 0.01 * number, "layers": 0.0, "layer_size": math.log(32)}]
    ]
    assert asked(proposer, STARTUP - 1, seen).config == first[0]
    last = seen[-1]
    more = replace(last, number=STARTUP - 1, config=last.config.evolve(layers=3))
    assert asked(proposer, STARTUP, [*seen, more]).config not in first


def mean_dropout(algorithm: str) -> float:
    """Mean dropout of the last 20 of 40 trials whose losses grow with it, over several seeds."""
    last = [
        config.dropout
        for seed in range(5)
        for config in configs(search(Proposer(FREE, seed=seed, algorithm=algorithm), 40)[20:])
    ]
    return sum(last) / len(last)


@pytest.mark.parametrize("algorithm, at_most", [("tpe", 0.3), ("hyperopt", 0.3), ("anneal", 0.15)])
def test_learned_suggestions_go_where_losses_are_low(algorithm: str, at_most: float) -> None:
    assert mean_dropout(algorithm) < at_most < mean_dropout("random") - 0.05


def bad_share(algorithm: str) -> float:
    """Share of later suggestions in the half that always fails, over several seeds."""
    later = [
        config.dropout > 0.4
        for seed in range(5)
        for config in configs(
            search(
                Proposer(FREE, seed=seed, algorithm=algorithm),
                50,
                lambda config: None if config.dropout > 0.4 else 1.0 + config.layer_size / 1e6,
            )[20:]
        )
    ]
    return sum(later) / len(later)


@pytest.mark.parametrize("algorithm", ["tpe", "hyperopt"])
def test_tpe_stays_away_from_where_trials_fail(algorithm: str) -> None:
    assert bad_share(algorithm) < 0.4 < bad_share("random") - 0.05
