from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.windows import Scoring
from lstm_sweep.search.engines.trainings import CorpusTraining
from lstm_sweep.search.objective import RETURNED_LOSS
from lstm_sweep.search.policy.confirmed import Confirmed, compare, confirmed, is_whole
from lstm_sweep.search.progress import TrialProgress, TrialSnapshot
from lstm_sweep.search.trial import Ended, Job, Outcome, Phase, Slot, Trial


def first(number: int, loss: float) -> TrialSnapshot:
    trial = Trial(sweep="s", number=number, config=TrialConfig(), seed=0)
    nowhere = Path("/none")
    job = Job(
        trial=trial, slot=Slot(0), training=CorpusTraining(nowhere, Scoring(1, 0)), folder=nowhere
    )
    epochs = [{"val_loss": loss}]
    ended = Ended(Outcome.COMPLETE)
    return TrialProgress(trial, "", Slot(0), job, rounds=epochs, ended=ended).snapshot()


def again(number: int, *losses: float, best: bool = False, **more: Any) -> Confirmed:
    return Confirmed(first(number, 1.0), losses, is_best=best, **more)


def test_the_config_of_the_best_trial_comes_first_and_those_of_which_seeds_failed_last() -> None:
    best, lower, higher = again(1, 1.5, 1.6, best=True), again(2, 1.3, 1.31), again(3, 1.9, 1.8)
    failed = again(4, 1.0, failed={Outcome.DIVERGED: 2})
    none = again(5, failed={Outcome.HUNG: 3})
    found = compare([none, failed, higher, lower, best])
    assert [one.first.trial.number for one in found] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("losses", "p", "words"),
    [
        # Welch's t for (2.0, 2.1, 2.2) against (1.0, 1.1, 1.2): t = 1 / sqrt(0.02 / 3), 4 degrees
        ((2.0, 2.1, 2.2), 0.000255, "; worse: p = 0.00026"),
        ((0.0, 0.1, 0.2), 0.000255, "; better over further seeds: p = 0.00026"),
        # t = 0.05 / sqrt(0.02 / 3) = 0.612, 4 degrees of freedom
        ((1.05, 1.15, 1.25), 0.573, "; as good: p = 0.57"),
    ],
)
def test_configs_are_compared_with_that_of_the_best_trial_by_welchs_t_test(
    losses: tuple[float, ...], p: float, words: str
) -> None:
    best, other = compare([again(1, 1.0, 1.1, 1.2, best=True), again(2, *losses)])
    assert best.p is None and "p =" not in str(best)
    assert other.p == pytest.approx(p, rel=0.01)
    assert str(other).endswith(words)
    assert [one.to_dict()["verdict"] for one in (best, other)] == ["the best", other.verdict]


def test_one_seed_gives_no_verdict() -> None:
    both = compare([again(1, 1.0, best=True), again(2, 2.0)])
    assert [one.p for one in both] == [None, None]
    assert [one.spread for one in both] == [0.0, 0.0]
    assert str(both[0]) == "s/1: 1.0000 over 1 further seed, first run 1.0000"


@pytest.mark.parametrize(
    ("losses", "failed", "said"),
    [
        ([1.2], {Outcome.DIVERGED: 2}, "1.2000 over 1 of 3 further seeds; 2 diverged"),
        ([1.2, 1.4], {Outcome.OUT_OF_MEMORY: 1},
         "1.3000 +- 0.1414 over 2 of 3 further seeds; 1 out of memory"),
        ([], {Outcome.DIVERGED: 2, Outcome.HUNG: 1},
         "no loss of 3 further seeds; 2 diverged, 1 hung"),
    ],
)  # fmt: skip
def test_seeds_that_failed_are_counted_and_said(
    losses: list[float], failed: dict[Outcome, int], said: str
) -> None:
    found = again(1, *losses, failed=failed)
    assert str(found) == f"s/1: {said}, first run 1.0000"
    written = found.to_dict()
    assert written["failed"] == {str(outcome): count for outcome, count in failed.items()}
    assert (written["mean"] is None) == (not losses)


@pytest.mark.parametrize(
    ("outcome", "epochs", "counts"),
    [
        (Outcome.COMPLETE, 1, True),
        (Outcome.STOPPED, 3, True),  # as many as the first run needed for its lowest loss
        (Outcome.STOPPED, 2, False),
    ],
)
def test_a_further_run_that_was_cut_short_counts_from_the_best_epoch_of_the_first_on(
    outcome: Outcome, epochs: int, counts: bool
) -> None:
    losses = [2.0, 1.5, 1.0, 1.2]
    leader = replace(first(0, 1.0), rounds=tuple({"val_loss": loss} for loss in losses))
    further = replace(
        first(1, 1.0),
        trial=replace(leader.trial, number=1, seed=1, phase=Phase.CONFIRM),
        rounds=tuple({"val_loss": loss} for loss in losses[:epochs]),
        ended=Ended(outcome),
    )
    [found] = confirmed({0: leader, 1: further}, leader.trial.config)
    assert found.losses == ((min(losses[:epochs]),) if counts else ()) and found.is_best
    assert found.failed == ({} if counts else {outcome: 1})


def in_steps(number: int, loss: float) -> TrialSnapshot:
    """A trial of the ladder that took a few steps."""
    one = first(number, loss)
    return replace(one, trial=replace(one.trial, phase=Phase.LADDER, steps=60))


@pytest.mark.parametrize(
    ("runs", "chosen"),
    [
        ((in_steps(1, 2.2), first(4, 1.5)), 4),
        ((in_steps(1, 1.4), first(4, 1.5)), 4),  # its loss is of another length
        ((first(2, 1.6), first(4, 1.5), first(5, 1.7)), 4),
        ((in_steps(1, 2.2), in_steps(2, 2.1)), 2),  # nobody else has trained it
    ],
)
def test_a_config_that_was_tried_several_times_is_confirmed_once_beside_its_best_whole_run(
    runs: tuple[TrialSnapshot, ...], chosen: int
) -> None:
    further = first(9, 1.55)
    further = replace(further, trial=replace(further.trial, seed=1, phase=Phase.CONFIRM))
    found = confirmed({one.trial.number: one for one in (*runs, further)}, None)
    assert [(one.first.trial.number, one.losses) for one in found] == [(chosen, (1.55,))]


@pytest.mark.parametrize("waited", [False, True])
@pytest.mark.parametrize("attempt", [1, 2])
@pytest.mark.parametrize("outcome", [Outcome.COMPLETE, Outcome.HUNG, Outcome.STOPPED])
def test_a_trial_that_failed_or_went_on_from_a_checkpoint_took_other_times(
    outcome: Outcome, attempt: int, waited: bool
) -> None:
    one = first(0, 1.0)
    trial = replace(one.trial, attempt=attempt)
    one = replace(one, trial=trial, ended=Ended(outcome), waited=waited)
    assert is_whole(one) == (outcome is Outcome.COMPLETE and attempt == 1 and not waited)


@pytest.mark.parametrize("attempt", [1, 2])
@pytest.mark.parametrize(("loss", "whole"), [(1.0, True), (None, False)])
def test_a_trial_of_a_template_is_whole_once_it_has_returned(
    attempt: int, loss: float | None, whole: bool
) -> None:
    one = first(0, 1.0)
    trial = replace(one.trial, attempt=attempt, objective=RETURNED_LOSS)
    ended = Ended(Outcome.COMPLETE, loss=loss)
    assert is_whole(replace(one, trial=trial, ended=ended)) is whole
