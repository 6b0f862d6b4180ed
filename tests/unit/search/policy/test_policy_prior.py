"""Searches that begin with what earlier sweeps have found."""

from __future__ import annotations

from typing import Any

import pytest

from lstm_sweep.models.config import Config, TrialConfig, as_lstm_config
from lstm_sweep.search.policy.experience import Experience, Opening, network
from lstm_sweep.search.policy.lstm_problem import lstm_problem
from lstm_sweep.search.policy.plan import Plan
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.policy.problem import admits_all
from lstm_sweep.search.trial import Phase
from lstm_sweep.spaces.space import Space
from tests.unit.search.policy.player import (
    EXTENT,
    PLAIN,
    SMALL,
    SPACE,
    Player,
    policy_of,
    problem_of,
    usual,
)

BASE = TrialConfig(layers=2, layer_size=32, learning_rate=0.1, epochs=9)
SAME = Opening(BASE.evolve(dropout=0.11), 0.5)
OTHERS = (Opening(BASE.evolve(dropout=0.22)), Opening(BASE.evolve(dropout=0.33), 100.0))
KNOWN = Experience((SAME,), OTHERS)

#: with how many others a search begins
USUAL = len(problem_of().openings(0.01, admits_all))


def searched(policy: Policy) -> list[TrialConfig]:
    played = Player(policy, usual, 1).play()
    return [as_lstm_config(one.trial.config) for one in played.of(Phase.SEARCH)]


def place(found: list[TrialConfig], opening: Opening) -> int:
    return [network(one) for one in found].index(network(opening.config))


def test_the_same_corpus_comes_before_the_usual_openings_and_others_after_them() -> None:
    found = searched(policy_of(Plan(trials=20), slots=1, experience=KNOWN))
    usually = searched(policy_of(Plan(trials=20), slots=1))
    assert place(found, SAME) == 0
    assert found[1 : 1 + USUAL] == usually[:USUAL]
    assert [place(found, one) for one in OTHERS] == [1 + USUAL, 2 + USUAL]


def test_their_rates_are_multiples_of_what_suits_them_within_what_is_searched() -> None:
    found = searched(policy_of(Plan(trials=20), slots=1, experience=KNOWN))
    rates = {one.dropout: one.learning_rate for one in found[: 3 + USUAL]}
    assert rates[0.11] == pytest.approx(0.5 * rates[0.22], rel=0.05)
    assert rates[0.33] == pytest.approx(2.0 * rates[0.22], rel=0.05)


def test_without_the_prior_a_search_is_as_if_nothing_were_known() -> None:
    plan = Plan(trials=20, prior=False)
    assert searched(policy_of(plan, slots=1, experience=KNOWN)) == searched(
        policy_of(Plan(trials=20), slots=1)
    )


def test_what_is_not_admitted_or_lies_outside_of_the_space_is_left_out() -> None:
    def admits(config: Config) -> bool:
        return as_lstm_config(config).dropout != 0.11

    outside = Opening(BASE.evolve(layers=16), 1.0)
    known = Experience((SAME, outside), OTHERS[:1])
    found = searched(policy_of(Plan(trials=20), slots=1, admits=admits, experience=known))
    networks = [network(one) for one in found]
    assert network(OTHERS[0].config) in networks
    assert network(SAME.config) not in networks and network(outside.config) not in networks


def test_a_network_of_the_usual_openings_is_not_tried_again_with_another_rate() -> None:
    usually = searched(policy_of(Plan(trials=20), slots=1))
    again = Experience(later=(Opening(usually[0], 0.3), OTHERS[0]))
    found = searched(policy_of(Plan(trials=20), slots=1, experience=again))
    assert found[:USUAL] == usually[:USUAL] and place(found, OTHERS[0]) == USUAL


@pytest.mark.parametrize("space, plan", [(SMALL, {}), (SPACE, {"ladder": False})])
def test_without_a_ladder_openings_have_the_rates_that_they_had(
    space: Space, plan: dict[str, Any]
) -> None:
    config = as_lstm_config(space.middle())
    known = Experience((Opening(config, 0.5),))
    found = searched(policy_of(Plan(**(PLAIN | plan), trials=6), space, 1, experience=known))
    assert found[0] == config


def test_what_rounds_take_is_predicted_by_those_of_earlier_sweeps() -> None:
    def seconds(pace: float) -> float:
        known = Experience(pace=pace)
        problem = lstm_problem(SPACE, EXTENT, unigram_loss=3.0, experience=known)
        return problem.costs().round_seconds(BASE)

    assert seconds(0.25) == pytest.approx(seconds(1.0) / 4)
