from __future__ import annotations

import pytest

from lstm_sweep.search.policy import forecast
from lstm_sweep.search.policy.plan import Plan
from lstm_sweep.search.trial import Phase
from tests.unit.search.policy.player import Player, policy_of, usual


def test_forecasts_are_made_anew_only_once_a_trial_has_trained_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    player = Player(policy_of(Plan(trials=24, confirm_configs=0), slots=2), usual, 2)
    made: list[int] = []
    ends = forecast._ends

    def counted(steps, fit):  # type: ignore[no-untyped-def]
        made.append(len(steps.lowest))
        return ends(steps, fit)

    monkeypatch.setattr(forecast, "_ends", counted)
    played = player.play()
    rounds = sum(len(one.rounds) for one in played.of(Phase.SEARCH))
    assert 0 < len(made) <= 2 * rounds
