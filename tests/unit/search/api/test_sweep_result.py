"""What a sweep has come to, read back from records of its trials."""

from __future__ import annotations

from typing import Any, cast
from unittest import mock

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.api.sweep_result import confirmed_of
from lstm_sweep.search.store.trial_record import TrialRecord
from lstm_sweep.search.trial import Phase, Trial

ROUNDS = 4


def record_of(number: int, phase: Phase, loss: float, **more: Any) -> TrialRecord:
    """A trial of the same config as the others, of which the best loss is known."""
    config = TrialConfig(epochs=10)
    trial = Trial(
        sweep="s", number=number, config=config, seed=number, phase=phase, rounds_per_epoch=ROUNDS
    )
    known = {"outcome": "complete", "best_val_loss": loss, "best_epoch": 2.5, "epochs": 10.0}
    return cast("TrialRecord", mock.Mock(trial=trial, **(known | more)))


def test_a_further_run_that_was_cut_short_counts_as_it_does_in_a_running_sweep() -> None:
    first = record_of(0, Phase.SEARCH, 1.0)
    whole = record_of(1, Phase.CONFIRM, 1.1)
    early = record_of(2, Phase.CONFIRM, 3.0, outcome="stopped", best_epoch=0.25, epochs=0.25)
    late = record_of(3, Phase.CONFIRM, 1.2, outcome="stopped", best_epoch=2.5, epochs=2.75)
    [found] = confirmed_of([first, whole, early, late])
    assert found.losses == (1.1, 1.2)
