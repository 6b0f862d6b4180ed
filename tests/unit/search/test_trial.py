from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.tags import Tags
from lstm_sweep.search.values.documents import duration, loss_text, time_left_text
from lstm_sweep.search.values.trial import Ended, Outcome, Phase, Slot, Trial, trial_seed

TRIAL = Trial(sweep="docs-1", number=4, config=TrialConfig(), seed=11)


def progress(*losses: float, outcome: Outcome | None = None) -> Trial:
    """A trial whose epochs had these validation losses."""
    ended = Ended(outcome) if outcome else None
    epochs = [{"val_loss": loss} for loss in losses]
    return replace(TRIAL, rounds=epochs, ended=ended)


@given(seed=st.integers(0, 2**63), number=st.integers(0, 10**6))
def test_the_seed_of_a_trial_fits_31_bits(seed: int, number: int) -> None:
    assert 0 <= trial_seed(seed, number) < 2**31


def test_the_seed_of_a_trial_never_changes() -> None:
    assert [trial_seed(0, 0), trial_seed(0, 1), trial_seed(1, 0)] == [
        1882578563,
        1895158886,
        1735666946,
    ]


@pytest.mark.parametrize(
    "outcome, without_result, with_result, ranks",
    [
        (Outcome.COMPLETE, "FINISHED", "FINISHED", True),
        (Outcome.PRUNED, "FINISHED", "FINISHED", True),
        (Outcome.OUT_OF_TIME, "FINISHED", "FINISHED", True),
        (Outcome.STOPPED, "KILLED", "FINISHED", True),
        (Outcome.DIVERGED, "FAILED", "FAILED", False),
        (Outcome.OUT_OF_MEMORY, "FAILED", "FAILED", False),
        (Outcome.HUNG, "FAILED", "FAILED", False),
        (Outcome.ERROR, "FAILED", "FAILED", False),
        (Outcome.LOST, "FAILED", "FAILED", False),
    ],
)
def test_each_outcome_has_a_word_of_mlflow_and_ranks_or_not(
    outcome: Outcome, without_result: str, with_result: str, ranks: bool
) -> None:
    statuses = [outcome.status(has_result=one) for one in (False, True)]
    assert statuses == [without_result, with_result]
    assert outcome.ranks is ranks


def test_only_accidents_are_tried_again() -> None:
    attempts = {phase: {o: o.most_attempts(phase) for o in Outcome} for phase in Phase}
    again = {o: n for o, n in attempts[Phase.SEARCH].items() if n > 1}
    assert again == {Outcome.LOST: 3, Outcome.OUT_OF_MEMORY: 2}
    assert attempts[Phase.CONFIRM] == attempts[Phase.SEARCH]
    of_ladder = {o for o, n in attempts[Phase.LADDER].items() if n > 1}
    assert of_ladder == {outcome for outcome in Outcome if outcome.is_accident}


@pytest.mark.parametrize(
    "losses, epoch, loss",
    [
        ([], None, None),
        ([2.0], 1, 2.0),
        ([3.0, 1.0, 2.0], 2, 1.0),
        ([3.0, 2.0, 1.0], 3, 1.0),
        ([2.0, 1.0, 1.0], 2, 1.0),  # the first of equals
        ([0.0], 1, 0.0),
        ([1.0, math.inf], 1, 1.0),
    ],
)
def test_the_best_epoch_has_the_lowest_validation_loss(
    losses: list[float], epoch: int | None, loss: float | None
) -> None:
    found = progress(*losses)
    assert (found.best_round, found.best_loss) == (epoch, loss)


@pytest.mark.parametrize(
    "outcome, loss",
    [
        (None, None),  # still running
        (Outcome.COMPLETE, 1.0),
        (Outcome.STOPPED, 1.0),
        (Outcome.DIVERGED, None),
        (Outcome.LOST, None),
    ],
)
def test_a_trial_competes_with_its_best_loss_once_it_has_ended_well(
    outcome: Outcome | None, loss: float | None
) -> None:
    assert progress(2.0, 1.0, 3.0, outcome=outcome).ranked_loss == loss


def test_a_trial_that_was_read_back_while_it_waited_counts_the_time_of_its_next_stretch() -> None:
    record = TrialRecord(
        **vars(replace(TRIAL, paused="waits", waited=True, seconds=5.0)), tags=Tags.of("r", {})
    )
    again = record.as_driven().with_slot(Slot(0), 100.0)
    assert (again.state, again.with_end(Ended(Outcome.COMPLETE), 110.0).seconds) == ("running", 15)


@pytest.mark.parametrize(
    "seconds, exact, estimate",
    [
        (None, "?", "?"),
        (0.0, "0 s", "0 s"),
        (7.4, "7 s", "7 s"),
        (43.0, "43 s", "45 s"),
        (59.6, "1 min 00 s", "1 min"),  # not 60 s
        (751.0, "12 min 31 s", "13 min"),
        (3_599.6, "1 h 00 min", "1 h"),  # not 60 min
        (4_000.0, "1 h 06 min", "1 h 05 min"),
        (360_000.0, "100 h 00 min", "100 h"),
    ],
)
def test_a_time_is_written_for_people_and_an_estimate_has_no_more_figures_than_it_is_worth(
    seconds: float | None, exact: str, estimate: str
) -> None:
    assert (duration(seconds), time_left_text(seconds)) == (exact, f"about {estimate} left")


def test_a_loss_is_written_to_four_places() -> None:
    assert [loss_text(loss) for loss in (None, 0.0, 1.23456)] == ["-", "0.0000", "1.2346"]
