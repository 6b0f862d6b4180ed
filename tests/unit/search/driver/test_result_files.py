from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.config import Config, as_lstm_config
from lstm_sweep.models.data.windows import Scoring
from lstm_sweep.models.size import parameters
from lstm_sweep.search.driver import result_files as evidence_module
from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.driver.transitions import (
    RoundReported,
    SearchReported,
    Ticked,
    TrialClosed,
    TrialEnded,
    TrialPlaced,
    TrialProposed,
    TrialStarted,
    after,
)
from lstm_sweep.search.engines.trainings import CorpusTraining
from lstm_sweep.search.policy.cost import DataSize
from lstm_sweep.search.policy.lstm_problem import lstm_problem
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.values.progress import TrialProgress
from lstm_sweep.search.values.spec import Plan, SweepSpec
from lstm_sweep.search.values.trial import (
    VALIDATION_LOSS,
    Ended,
    Job,
    Outcome,
    RoundDone,
    Slot,
    Trial,
)
from lstm_sweep.spaces import presets
from tests.conftest import in_full
from tests.states import with_trials

SLOT = Slot(0)
ALPHABET, SYMBOLS = 30, 100_000
PROBLEM = replace(
    lstm_problem(presets.DEFAULT, DataSize(SYMBOLS, ALPHABET, 1_000), unigram_loss=3.0),
    pausable=False,
)


class Networks:
    """What is known of LSTMs on a corpus."""

    objective = VALIDATION_LOSS
    training_symbols = SYMBOLS

    def parameters_of(self, config: Config) -> int:
        return parameters(as_lstm_config(config), ALPHABET)


NETWORKS = Networks()


def played(trials: int = 14, rate_losses: dict[float, float] | None = None) -> SweepState:
    """A sweep on one slot whose losses depend on rate and dropout alone; rate 1 diverges."""
    plan = Plan(trials=trials, early_stopping=0)
    policy = Policy(plan, PROBLEM, sweep="s", slots=1)
    spec = SweepSpec(trials=trials)
    baselines = {"unigram": 3.0, "markov": 2.0}
    state = SweepState("s", spec, "run", (SLOT,), baselines)
    while trial := policy.next(state.now):
        nowhere = Path("/none")
        job = Job(
            trial=trial, slot=SLOT, training=CorpusTraining(nowhere, Scoring(1, 0)), folder=nowhere
        )
        for event in (TrialProposed(trial), TrialPlaced(trial, SLOT, "", job), TrialStarted(SLOT)):
            state = after(state, event)
        policy.begin(state.running[SLOT])
        state, ended = _play(trial, policy, state)
        state = after(state, TrialEnded(trial.number, ended))
        policy.end(state.running[SLOT])
        state = after(state, TrialClosed(trial.number))
    return after(state, SearchReported(policy.report()))


def _play(trial: Trial, policy: Policy, state: SweepState) -> tuple[SweepState, Ended]:
    config = as_lstm_config(trial.config)
    if config.learning_rate >= 1:
        return state, Ended(Outcome.DIVERGED, "too high")
    for epoch in range(1, config.epochs + 1):
        loss = 1.5 + abs(math.log10(config.learning_rate) + 2) + 0.2 * config.dropout + 1 / epoch
        metrics = {"val_loss": loss + 0.001 * trial.number, "round_seconds": 1.0}
        state = after(state, Ticked(state.now + 1.0))
        state = after(state, RoundReported(SLOT, RoundDone(epoch, metrics)))
        if verdict := policy.judge(state.running[SLOT]):
            assert isinstance(verdict, Ended)
            return state, verdict
    return state, Ended(Outcome.COMPLETE)


def learned(finished: Sequence[TrialProgress], trials: int) -> Policy:
    """A policy that knows these trials."""
    policy = Policy(Plan(trials=trials), PROBLEM, sweep="s", slots=1)
    policy.restore(finished, [], extended=False)
    return policy


@pytest.fixture(scope="module")
def state() -> SweepState:
    return played(30)


@pytest.fixture(scope="module")
def found(state: SweepState) -> dict[str, Any]:
    importance = learned(state.finished, len(state.finished)).importance()
    return evidence_module.evidence(state, NETWORKS, importance)


@contextmanager
def no_warnings() -> Iterator[None]:
    """Raises what is warned of within; what other tests left to the collector is not of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_a_sweep_in_which_everything_fails_is_described_without_a_word() -> None:
    failed = Ended(Outcome.ERROR, "no")
    whole = played()
    finished = [replace(progress, ended=failed, rounds=()) for progress in whole.finished]
    report = learned(finished, len(finished)).report()
    state = with_trials(SweepState("s", whole.spec, "run", (SLOT,), report=report), finished)
    with no_warnings():
        found = evidence_module.evidence(state, NETWORKS)
    assert {trial["val_loss"] for trial in found["trials"]} == {None}
    assert evidence_module.describe(state) == "No trial has a result."


@pytest.mark.parametrize("bad", [math.nan, 1e308, *in_full(math.inf, -math.inf)])
def test_losses_that_are_no_numbers_are_left_out(bad: float) -> None:
    whole = played(20)
    finished = list(whole.finished)
    for place, progress in enumerate(finished):
        spoilt = [epoch | {"val_loss": bad} for epoch in progress.rounds]
        if place % 2 == 0:
            finished[place] = replace(progress, rounds=spoilt)
        elif place % 4 == 1:
            finished[place] = replace(progress, rounds=[*progress.rounds[:-1], {"val_loss": bad}])
    policy = learned(finished, 20)
    state = with_trials(replace(whole, finished=(), ranked=(), report=policy.report()), finished)
    with no_warnings():
        found = evidence_module.evidence(state, NETWORKS, policy.importance())
        text = evidence_module.describe(state)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert "nan" not in text and "inf" not in text


def test_the_description_names_ladder_and_confirmation(state: SweepState) -> None:
    text = evidence_module.describe(state)
    assert state.best and state.best.ranked_loss
    first, *_ = text.splitlines()
    assert first.startswith(f"**{state.best.trial.id}** is the best trial: ")
    assert f"{state.best.ranked_loss:.4f}" in first and "bits per symbol" in first
    assert state.best.trial.config.headline() in first
    assert f"best trial, {state.best.trial.id}" in text
    assert "Ladder of learning rates: 0.01 is best" in text
    assert "further seeds" in text
