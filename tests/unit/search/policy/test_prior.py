"""Searches that begin with the best configs of earlier sweeps on the same data."""

from __future__ import annotations

from typing import Any

import pytest

from lstm_sweep.models.config import Config, TrialConfig, as_lstm_config
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.policy.problem import EarlierBest, described
from lstm_sweep.search.values.spec import Plan
from lstm_sweep.search.values.trial import Phase
from lstm_sweep.spaces.space import Space
from tests.unit.search.policy.player import PLAIN, SMALL, SPACE, Player, policy_of, usual

#: one with a rate that suits it, and one with a rate at which the ladder learns nothing
SUITED = TrialConfig(layers=2, layer_size=32, learning_rate=0.003, epochs=12, dropout=0.11)
TOO_HIGH = SUITED.evolve(layers=1, layer_size=48, learning_rate=1.0, dropout=0.22)


def searched(policy: Policy) -> list[TrialConfig]:
    played = Player(policy, usual, 1).play()
    return [as_lstm_config(one.trial.config) for one in played.of(Phase.SEARCH)]


def test_they_come_before_the_usual_openings_with_rates_that_suit() -> None:
    first, second, *others = searched(policy_of(Plan(trials=20), slots=1, prior=[SUITED, TOO_HIGH]))
    assert first == SUITED.evolve(epochs=9)  # as this space has them
    assert second == TOO_HIGH.evolve(epochs=9, learning_rate=second.learning_rate)
    assert 0.001 < second.learning_rate < 0.02
    usually = searched(policy_of(Plan(trials=20), slots=1))
    assert others[:4] == usually[:4]


def test_without_the_prior_a_search_is_as_if_nothing_were_known() -> None:
    plan = Plan(trials=20, prior=False)
    assert searched(policy_of(plan, slots=1, prior=[SUITED])) == searched(
        policy_of(Plan(trials=20), slots=1)
    )


def test_what_is_not_admitted_or_lies_outside_of_the_space_is_left_out() -> None:
    def admits(config: Config) -> bool:
        return as_lstm_config(config).dropout != SUITED.dropout

    prior = [SUITED, SUITED.evolve(layers=16, dropout=0.3)]
    found = searched(policy_of(Plan(trials=20), slots=1, admits=admits, prior=prior))
    assert found == searched(policy_of(Plan(trials=20), slots=1, admits=admits))


@pytest.mark.parametrize("space, plan", [(SMALL, {}), (SPACE, {"ladder": False})])
def test_without_a_ladder_they_have_the_rates_that_they_had(
    space: Space, plan: dict[str, Any]
) -> None:
    config = as_lstm_config(space.middle())
    found = searched(policy_of(Plan(**(PLAIN | plan), trials=6), space, 1, prior=[config]))
    assert found[0] == config


def test_a_line_says_what_a_search_begins_with() -> None:
    assert described([]) == []
    [one] = described([EarlierBest("a/4", SUITED)])
    assert one == "prior: begins with the best config of an earlier sweep on these data (a/4)"
    [two] = described([EarlierBest("b/9", TOO_HIGH), EarlierBest("a/4", SUITED)])
    assert two == "prior: begins with the best configs of 2 earlier sweeps on these data (b/9, a/4)"
