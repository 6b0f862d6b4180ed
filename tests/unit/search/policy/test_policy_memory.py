"""Configs that use up the memory, and those that are larger."""

from __future__ import annotations

from typing import Any

import pytest

from lstm_sweep.models.config import TrialConfig, as_lstm_config
from lstm_sweep.search.policy.plan import Plan
from lstm_sweep.search.trial import Ended, Outcome, Trial
from tests.unit.search.policy.player import Curve, course_of, play, policy_of, usual


@pytest.mark.parametrize(
    "changes, too_large",
    [
        ({}, True),
        ({"layer_size": 128}, True),
        ({"batch_size": 256, "sequence_length": 80}, True),
        ({"layer_size": 32}, False),
        ({"layer_size": 128, "batch_size": 32}, False),
        ({"direction": "bi", "layer_size": 128}, False),
    ],
)
def test_what_is_larger_than_a_config_that_used_up_the_memory_is_not_tried(
    changes: dict[str, Any], too_large: bool
) -> None:
    config = TrialConfig(layers=2, layer_size=64, sequence_length=40, batch_size=64)
    progress = course_of(Trial(sweep="s", number=0, config=config, seed=1))
    policy = policy_of(Plan())
    assert not policy.too_large(config)
    policy.begin(progress)
    policy.end(progress.with_end(Ended(Outcome.OUT_OF_MEMORY, "memory of the card"), 1.0))
    assert policy.too_large(config.evolve(**changes)) is too_large


def test_a_sweep_learns_how_much_fits_into_the_memory() -> None:
    def curves(trial: Trial) -> Curve:
        fits = as_lstm_config(trial.config).layer_size * as_lstm_config(trial.config).layers < 100
        return usual(trial) if fits else Curve([], Outcome.OUT_OF_MEMORY)

    plan = Plan(trials=40, algorithm="random", confirm_configs=0)
    played = play(plan, curves=curves, slots=1)
    exhausting: list[TrialConfig] = []
    for progress in played.all_progress:
        config = progress.trial.config
        assert not any(
            as_lstm_config(config).layers >= other.layers
            and as_lstm_config(config).layer_size >= other.layer_size
            and as_lstm_config(config).sequence_length >= other.sequence_length
            and as_lstm_config(config).batch_size >= other.batch_size
            and as_lstm_config(config).direction == other.direction
            for other in exhausting
        )
        if progress.ended and progress.ended.outcome is Outcome.OUT_OF_MEMORY:
            exhausting.append(as_lstm_config(config))
    assert exhausting
    assert len(exhausting) < 20
