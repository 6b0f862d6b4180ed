from __future__ import annotations

from collections.abc import Sequence

import pytest

from lstm_sweep.models.config import Config, TrialConfig, as_lstm_config
from lstm_sweep.search.policy.experience import (
    FIRST,
    LATER,
    NO_EXPERIENCE,
    SLOWEST,
    Opening,
    PastSweep,
    PastTrial,
    distilled,
    nearest,
    placed,
    portfolio,
)
from lstm_sweep.search.policy.problem import admits_all
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.dimension import Listed, Range
from lstm_sweep.spaces.space import Space

SPACE = Space(
    {
        "direction": Listed("direction", ("uni", "bi")),
        "learning_rate": Listed("learning_rate", (0.001, 0.01, 0.1)),
        "dropout": Range("dropout", 0.0, 0.8),
        "layers": Listed("layers", (1, 2, 3)),
        "layer_size": Range("layer_size", 32, 256, step=32),
        "batch_size": Listed("batch_size", (16, 32, 64)),
        "epochs": Listed("epochs", (9,)),
    }
)
GRID = [
    TrialConfig(layers=layers, layer_size=size, dropout=dropout, epochs=9)
    for layers in (1, 2, 3)
    for size in (32, 64, 128, 256)
    for dropout in (0.0, 0.4)
]


def swept(order: Sequence[TrialConfig], *, same: bool = False) -> PastSweep:
    """A sweep whose trials came out in this order, the best first."""
    trials = (PastTrial(c, place / (len(order) - 1), 1.0) for place, c in enumerate(order))
    return PastSweep(tuple(trials), same)


def by_distance(best: TrialConfig) -> list[TrialConfig]:
    """The grid, those first that are most like one."""
    return sorted(
        GRID,
        key=lambda c: (
            abs(c.layers - best.layers)
            + abs(c.layer_size / best.layer_size - 1)
            + 2 * abs(c.dropout - best.dropout)
        ),
    )


SHALLOW = TrialConfig(layers=1, layer_size=32, dropout=0.0, epochs=9)
DEEP = TrialConfig(layers=3, layer_size=256, dropout=0.4, epochs=9)


# a portfolio -----------------------------------------------------------------------------------


def test_the_best_of_a_sweep_and_those_that_are_like_it_come_first() -> None:
    for best in (SHALLOW, DEEP):
        first = portfolio(SPACE, admits_all, [swept(by_distance(best))], 1)[0].config
        assert (first.layers, first.dropout) == (best.layers, best.dropout)


def test_the_second_opening_is_for_those_sweeps_for_which_the_first_is_not_good() -> None:
    past = [swept(by_distance(best)) for best in (SHALLOW, SHALLOW, DEEP)]
    first, second, *_ = (one.config for one in portfolio(SPACE, admits_all, past, 4))
    assert (first.layers, second.layers) == (1, 3)


def test_no_config_is_an_opening_twice_and_they_are_few() -> None:
    past = [swept(by_distance(best)) for best in GRID]
    found = [one.config for one in portfolio(SPACE, admits_all, past, 4)]
    assert len(found) == len(set(found)) <= 4
    assert len(portfolio(SPACE, admits_all, past, 2)) == 2


def test_a_rate_that_is_far_from_what_suits_a_network_makes_no_opening() -> None:
    trials = (
        PastTrial(SHALLOW, 0.0, 50.0),
        PastTrial(DEEP, 0.1, 1.5),
        PastTrial(GRID[3], 1.0, 1.0),
    )
    assert portfolio(SPACE, admits_all, [PastSweep(trials)], 2) == (Opening(DEEP, 1.5),)


def test_nothing_comes_of_nothing() -> None:
    assert distilled(SPACE, admits_all, []) == NO_EXPERIENCE
    assert NO_EXPERIENCE.describe() == []
    assert portfolio(SPACE, admits_all, [PastSweep((PastTrial(DEEP, 0.9, 1.0),))], 2) == ()
    assert portfolio(SPACE, lambda config: False, [swept(GRID)], 2) == ()


def test_sweeps_on_the_same_corpus_have_their_own_openings() -> None:
    past = [swept(by_distance(SHALLOW), same=True), *[swept(by_distance(DEEP))] * 3]
    found = distilled(SPACE, admits_all, past)
    assert (len(found.first), len(found.later)) == (FIRST, LATER)
    assert found.first[0].config.layers == 1 and found.later[0].config.layers == 3
    [line] = found.describe()
    assert line.endswith("from before, 1 of sweeps on this corpus and 2 of sweeps on others")
    [line] = distilled(SPACE, admits_all, past[1:]).describe()
    assert line.endswith("from before, 2 of sweeps on others")


def test_the_pace_is_the_middle_one_within_limits() -> None:
    assert distilled(SPACE, admits_all, [], [0.3, 0.2, 9.0]).pace == 0.3
    assert distilled(SPACE, admits_all, [], [1e-9]).pace == 1 / SLOWEST
    assert distilled(SPACE, admits_all, [], [1e9]).pace == SLOWEST


# placing ---------------------------------------------------------------------------------------


def test_a_config_is_moved_to_the_nearest_one_of_the_space() -> None:
    given = TrialConfig(
        layers=5, layer_size=100, dropout=0.9, batch_size=20, learning_rate=0.03, optimizer="adam"
    )
    found = placed(given, SPACE, admits_all)
    assert found == TrialConfig(
        layers=3, layer_size=96, dropout=0.8, batch_size=16, learning_rate=0.01, epochs=9
    )
    assert found and SPACE.admits(found)


def test_a_size_that_is_not_admitted_gives_way_to_the_nearest_that_is() -> None:
    def large(config: Config) -> bool:
        return as_lstm_config(config).layer_size >= 128

    found = placed(SHALLOW, SPACE, large)
    assert found == SHALLOW.evolve(layer_size=128)


@pytest.mark.parametrize("space", presets.SPACES.values(), ids=list(presets.SPACES))
def test_each_opening_is_a_config_of_the_space(space: Space) -> None:
    past = [swept(by_distance(best)) for best in GRID[::5]]
    found = portfolio(space, admits_all, past, 4)
    assert found and all(space.admits(one.config) for one in found)


@pytest.mark.parametrize(
    "dimension, value, expected",
    [
        (Listed("batch_size", (16, 64)), 36, 64),  # by its logarithm
        (Listed("dropout", (0.0, 0.3)), 0.1, 0.0),
        (Listed("embedding_size", (8, 64)), 0, 8),
        (Listed("direction", ("bi",)), "uni", "bi"),
        (Range("dropout", 0.1, 0.5), 0.7, 0.5),
        (Range("dropout", 0.1, 0.5), 0.25, 0.25),
    ],
)
def test_the_nearest_value(dimension: Listed, value: float, expected: float) -> None:
    assert nearest(dimension, value) == expected


@pytest.mark.parametrize("best", ["adam", "rmsprop"])
def test_where_both_optimizers_are_searched_the_better_one_is_proposed(best: str) -> None:
    space = SPACE.replace(optimizer=Listed("optimizer", ("rmsprop", "adam")))
    order = sorted(
        (config.evolve(optimizer=name) for config in GRID for name in ("rmsprop", "adam")),
        key=lambda config: config.optimizer != best,
    )
    [found] = distilled(space, admits_all, [swept(order, same=True)]).first
    assert found.config.optimizer == best
