"""What a policy tells the algorithm that suggests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from lstm_sweep.models.config import as_lstm_config
from lstm_sweep.search.policy.proposer import Observation, Observations, Proposal, Proposer
from lstm_sweep.search.values.spec import Plan
from lstm_sweep.search.values.trial import Outcome, Trial
from lstm_sweep.spaces.dimension import Listed
from tests.unit.search.policy.player import (
    PLAIN,
    SPACE,
    Curve,
    Curves,
    play,
    usual,
)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[list[Observation]]:
    """What the proposer was told, each time it was asked."""
    found: list[list[Observation]] = []
    candidates = Proposer.candidates

    def listen(self: Proposer, number: int, seen: Observations) -> Iterator[Proposal]:
        found.append(list(seen.history))
        return candidates(self, number, seen)

    monkeypatch.setattr(Proposer, "candidates", listen)
    return found


def failing(outcome: Outcome) -> Curves:
    """The usual curves, but odd numbers fail after two epochs."""

    def curves(trial: Trial) -> Curve:
        curve = usual(trial)
        return Curve(curve.losses[:2], outcome) if trial.number % 2 else curve

    return curves


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if not outcome.ranks])
def test_what_has_diverged_is_told_without_a_loss_and_an_accident_not_at_all(
    told: list[list[Observation]], outcome: Outcome
) -> None:
    played = play(Plan(**{**PLAIN, "trials": 12}), curves=failing(outcome), slots=1)
    last = told[-1]
    assert [trial.number for trial in last] == list(range(0, 11, 1 + outcome.is_accident))
    for trial in last:
        lost = trial.number % 2 or as_lstm_config(trial.config).learning_rate >= 1
        best = played.all_progress[trial.number].best_loss
        assert trial.loss == (None if lost else pytest.approx(best))


def test_points_of_the_ladder_are_told_if_they_lie_in_the_narrowed_space(
    told: list[list[Observation]],
) -> None:
    played = play(Plan(trials=10), slots=1)
    climbed = {as_lstm_config(t.config).learning_rate: t for t in told[-1] if t.number < 4}
    assert {0.01, 0.001} == set(climbed)  # that of 1 fails, that of 0.1 was worse: they lie outside
    space = played.policy.space
    for rate in (0.01, 0.001):
        assert space.decode(climbed[rate].point) == climbed[rate].config
    assert all(trial.loss is not None for trial in climbed.values())


def test_a_trial_that_came_to_its_own_end_is_told_with_its_own_loss() -> None:
    """By early stopping, or since its config has fewer epochs than others."""
    space = SPACE.replace(epochs=Listed("epochs", (3, 9)))

    def falls(trial: Trial) -> Curve:
        curve = usual(trial)
        stuck = trial.number % 3 == 2
        return replace(curve, losses=[2.5] * trial.rounds if stuck else curve.losses)

    plan = Plan(**{**PLAIN, "trials": 16, "early_stopping": 3})
    played = play(plan, space, curves=falls, slots=1)
    told = played.policy.objective_values()
    whole = [one for one in played.all_progress if one.ranked_loss is not None]
    assert len({len(one.rounds) for one in whole}) == 3  # 3, 4 and 9 of 9
    assert all(told[one.trial.number] == one.best_loss for one in whole)
