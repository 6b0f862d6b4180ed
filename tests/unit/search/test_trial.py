from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.windows import Scoring
from lstm_sweep.search.engines.trainings import CorpusTraining
from lstm_sweep.search.progress import TrialProgress
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.tags import Tags
from lstm_sweep.search.trial import Ended, Job, Outcome, Phase, Slot, Trial, trial_seed

TRIAL = Trial(sweep="docs-1", number=4, config=TrialConfig(), seed=11)
JOB = Job(
    trial=TRIAL,
    slot=Slot(0),
    training=CorpusTraining(Path("/corpus"), Scoring(100, 0)),
    folder=Path("/scratch/4.1"),
)


def progress(*losses: float, outcome: Outcome | None = None) -> TrialProgress:
    """A trial whose epochs had these validation losses."""
    ended = Ended(outcome) if outcome else None
    epochs = [{"val_loss": loss} for loss in losses]
    return TrialProgress(TRIAL, "run", Slot(0), JOB, rounds=epochs, ended=ended)


@given(seed=st.integers(0, 2**63), number=st.integers(0, 10**6))
def test_the_seed_of_a_trial_fits_31_bits(seed: int, number: int) -> None:
    assert 0 <= trial_seed(seed, number) < 2**31


def test_the_seeds_of_a_thousand_trials_differ() -> None:
    assert len({trial_seed(0, number) for number in range(1_000)}) == 1_000


def test_the_seeds_of_other_sweeps_differ() -> None:
    assert len({trial_seed(sweep, 0) for sweep in range(1_000)}) == 1_000


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


def test_a_failure_is_an_accident_of_the_machine_unless_the_training_has_diverged() -> None:
    accidents = {outcome for outcome in Outcome if outcome.is_accident}
    assert accidents == {Outcome.OUT_OF_MEMORY, Outcome.HUNG, Outcome.ERROR, Outcome.LOST}


def test_only_accidents_are_tried_again() -> None:
    attempts = {phase: {o: o.most_attempts(phase) for o in Outcome} for phase in Phase}
    again = {o: n for o, n in attempts[Phase.SEARCH].items() if n > 1}
    assert again == {Outcome.LOST: 3, Outcome.OUT_OF_MEMORY: 2}
    assert attempts[Phase.CONFIRM] == attempts[Phase.SEARCH]
    of_ladder = {o for o, n in attempts[Phase.LADDER].items() if n > 1}
    assert of_ladder == {outcome for outcome in Outcome if outcome.is_accident}


def test_a_trial_is_named_by_its_sweep_and_number() -> None:
    assert TRIAL.id == "docs-1/4"


def test_the_next_attempt_is_the_same_trial_with_the_same_seed() -> None:
    again = TRIAL.next_attempt()
    assert (again.attempt, TRIAL.attempt) == (2, 1)
    assert (again.id, again.seed, again.config) == (TRIAL.id, TRIAL.seed, TRIAL.config)


@pytest.mark.parametrize(
    "slot, text",
    [
        (Slot(0), "this process"),
        (Slot(1, core=0), "core 0"),
        (Slot(1, core=3), "core 3"),
        (Slot(0, gpu="1"), "gpu 1"),
        (Slot(0, core=2, gpu="GPU-ab"), "gpu GPU-ab"),
    ],
)
def test_a_slot_says_where_it_is(slot: Slot, text: str) -> None:
    assert str(slot) == text


def test_a_job_keeps_weights_and_log_in_its_folder() -> None:
    assert (JOB.weights, JOB.log) == (
        Path("/scratch/4.1/model.keras"),
        Path("/scratch/4.1/log.txt"),
    )


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


def test_a_trial_stopped_before_its_first_epoch_does_not_compete() -> None:
    assert progress(outcome=Outcome.STOPPED).ranked_loss is None


@pytest.mark.parametrize(
    "losses, expected",
    [([], []), ([2.0], [2.0]), ([3.0, 1.0, 2.0, 0.5], [3.0, 1.0, 1.0, 0.5])],
)
def test_the_best_loss_so_far_never_rises(losses: list[float], expected: list[float]) -> None:
    assert progress(*losses).best_so_far == expected


def test_the_seconds_of_epochs_are_those_that_were_measured() -> None:
    found = progress(3.0, 2.0)
    assert found.round_seconds == []
    first, second = found.rounds
    timed = replace(found, rounds=(first, {**second, "round_seconds": 4.5}))
    assert timed.round_seconds == [4.5]


def test_a_record_is_printed_with_its_config_and_none_for_no_outcome() -> None:
    record = TrialRecord(
        trial=TRIAL,
        run_id="abc",
        status="RUNNING",
        outcome="",
        reason="",
        parameters=1234,
        best_val_loss=None,
        best_epoch=None,
        epochs=0,
        has_weights=False,
        tags=Tags(
            SimpleNamespace(info=SimpleNamespace(run_id="abc"), data=SimpleNamespace(tags={}))
        ),
    )
    assert record.to_dict() == {
        "trial": "docs-1/4",
        "run_id": "abc",
        "status": "RUNNING",
        "outcome": None,
        "phase": Phase.SEARCH.value,
        "attempt": 1,
        "val_loss": None,
        "best_epoch": None,
        "epochs": 0,
        "rounds_per_epoch": 1,
        "parameters": 1234,
        "seed": 11,
        "config": TrialConfig().to_dict(),
    }
