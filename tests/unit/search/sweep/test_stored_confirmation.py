"""Which configs were trained again, read back from records of trials."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.store.curves import confirmed_of
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.tags import Tag, Tags
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.trial import Outcome, Phase, Trial

ROUNDS = 4
NO_STORE = cast("Store", None)


def record_of(number: int, phase: Phase, losses: Sequence[float], **more: Any) -> TrialRecord:
    """A trial of the same config as the others, whose curve is in a tag."""
    trial = Trial(
        sweep="s",
        number=number,
        config=TrialConfig(epochs=10),
        seed=number,
        phase=phase,
        rounds_per_epoch=ROUNDS,
        most_rounds=more.pop("most_rounds", None),
    )
    curve = more.pop("curve", json.dumps([[loss, 1.0] for loss in losses]))
    written = {Tag.CURVE: curve}
    if more.pop("unfinished", False):
        written[Tag.UNFINISHED] = "yes"
    data = SimpleNamespace(tags=written)
    info = SimpleNamespace(run_id="r", status="FINISHED", start_time=0, end_time=1)
    run = SimpleNamespace(info=info, data=data)
    best = min(losses)
    known = {"outcome": "complete", "best_val_loss": best, "tags": Tags(run), "run": run}
    return cast("TrialRecord", mock.Mock(trial=trial, **(known | more)))


FIRST = [1.5, 1.4, 1.3, 1.2, 1.0, 1.1]


def test_a_further_run_that_was_cut_short_counts_as_it_does_in_a_running_sweep() -> None:
    first = record_of(0, Phase.SEARCH, FIRST)
    whole = record_of(1, Phase.CONFIRM, [2.0, 1.1])
    early = record_of(2, Phase.CONFIRM, [3.0], outcome="stopped")
    late = record_of(3, Phase.CONFIRM, [2.0, 1.9, 1.8, 1.7, 1.2], outcome="stopped")
    [found] = confirmed_of(NO_STORE, [first, whole, early, late])
    assert found.losses == (1.1, 1.2) and found.failed == {Outcome.STOPPED: 1}
    assert str(found).startswith("s/0: 1.1500 +- 0.0707 over 2 of 3 further seeds; 1 stopped")


@pytest.mark.parametrize("outcome", ["diverged", "hung", "out_of_memory"])
def test_a_seed_that_failed_is_counted_and_one_that_goes_on_later_is_not(outcome: str) -> None:
    first = record_of(0, Phase.SEARCH, FIRST)
    whole = record_of(1, Phase.CONFIRM, [1.2])
    failed = record_of(2, Phase.CONFIRM, [1.0], outcome=outcome)
    later = record_of(3, Phase.CONFIRM, [1.0], outcome="stopped", unfinished=True)
    [found] = confirmed_of(NO_STORE, [first, whole, failed, later])
    assert (found.losses, found.failed, found.is_best) == ((1.2,), {Outcome(outcome): 1}, True)


def test_a_curve_that_cannot_be_read_compares_to_nothing() -> None:
    first = record_of(0, Phase.SEARCH, FIRST, outcome="stopped")
    again = record_of(1, Phase.CONFIRM, [1.1] * 6, curve="no JSON")
    assert confirmed_of(NO_STORE, [first, again]) == []
