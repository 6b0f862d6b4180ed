from __future__ import annotations

import itertools
import math

import pytest

from lstm_sweep.models.config import Config, TrialConfig, as_lstm_config
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.policy.proposer import Observation, Observations, Proposer
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.dimension import Listed, Range
from lstm_sweep.spaces.space import Space
from tests.unit.search.policy.proposals import (
    FREE,
    SMALL,
    asked,
    configs,
    each_algorithm,
    ended,
    search,
    under_way,
)


@each_algorithm
@pytest.mark.parametrize("slots", [1, 3])
def test_suggestions_are_a_pure_function_of_the_seed_and_what_is_seen(
    algorithm: str, slots: int
) -> None:
    first, second = (Proposer(presets.DEFAULT, seed=3, algorithm=algorithm) for _ in range(2))
    assert search(first, 25, slots=slots) == search(second, 25, slots=slots)


@each_algorithm
def test_a_proposer_remembers_nothing_of_what_it_was_asked(algorithm: str) -> None:
    old = Proposer(presets.DEFAULT, seed=3, algorithm=algorithm)
    seen = search(old, 15)
    new = Proposer(presets.DEFAULT, seed=3, algorithm=algorithm)
    for number in (0, 7, 14):
        known = Observations.of(seen[:number])
        assert new.propose(number, known) == old.propose(number, known)


@each_algorithm
@pytest.mark.parametrize("slots", [1, 4])
def test_no_config_is_proposed_twice(algorithm: str, slots: int) -> None:
    found = configs(search(Proposer(presets.QUICK, seed=2, algorithm=algorithm), 40, slots=slots))
    assert len(set(found)) == len(found)


@each_algorithm
def test_a_space_is_used_up_by_trials_that_are_still_under_way(algorithm: str) -> None:
    proposer = Proposer(SMALL, seed=5, algorithm=algorithm)
    seen: list[Observation] = []
    for number in range(12):
        seen.append(under_way(number, asked(proposer, number, seen)))
    assert set(configs(seen)) == set(SMALL.points())
    assert proposer.propose(12, Observations.of(seen)) is None


@each_algorithm
def test_only_what_is_admitted_is_proposed_until_it_is_used_up(algorithm: str) -> None:
    def admits(config: Config) -> bool:
        return as_lstm_config(config).layers == 2

    proposer = Proposer(SMALL, seed=5, algorithm=algorithm, admits=admits)
    seen = search(proposer, 4, lambda config: 1.0)
    assert set(configs(seen)) == {
        config for config in SMALL.points() if admits(as_lstm_config(config))
    }
    assert proposer.propose(4, Observations.of(seen)) is None


def test_a_continuous_space_of_which_nothing_is_admitted_is_used_up() -> None:
    space = Space({"dropout": Range("dropout", 0.0, 0.8)})
    assert (
        Proposer(space, seed=0, admits=lambda config: False).propose(0, Observations.of([])) is None
    )


@each_algorithm
def test_a_space_of_one_point_gives_it_once(algorithm: str) -> None:
    proposer = Proposer(Space({}), seed=0, algorithm=algorithm)
    proposal = asked(proposer, 0, [])
    assert proposal.config == TrialConfig() and proposal.point == {}
    assert proposer.propose(1, Observations.of([ended(0, proposal, 1.0)])) is None


@each_algorithm
def test_values_of_a_list_are_proposed_about_equally_often_before_anything_is_seen(
    algorithm: str,
) -> None:
    space = FREE.replace(layers=Listed("layers", (1, 2, 3, 4)))
    first = [
        asked(Proposer(space, seed=seed, algorithm=algorithm), 0, []).config for seed in range(200)
    ]
    counts = [
        sum(as_lstm_config(config).layers == layers for config in first) for layers in (1, 2, 3, 4)
    ]
    assert sum(counts) == 200
    assert sum((count - 50) ** 2 / 50 for count in counts) < 3 + 4 * math.sqrt(6)


def test_an_unknown_algorithm_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        InputError, match="algo is 'grid': expected one of tpe, hyperopt, random, anneal"
    ):
        Proposer(FREE, seed=0, algorithm="grid")


@each_algorithm
@pytest.mark.parametrize("known", [0, 15])
def test_candidates_are_new_admitted_and_no_two_alike(algorithm: str, known: int) -> None:
    def admits(config: Config) -> bool:
        return as_lstm_config(config).layer_size != 64

    proposer = Proposer(presets.QUICK, seed=1, algorithm=algorithm, admits=admits)
    seen = search(proposer, known)
    found = [
        p.config for p in itertools.islice(proposer.candidates(known, Observations.of(seen)), 6)
    ]
    assert len(found) == 6 == len(set(found) - set(configs(seen)))
    assert all(admits(as_lstm_config(config)) for config in found)
