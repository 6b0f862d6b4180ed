"""States of sweeps for tests, made as sweeps make them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from lstm_sweep.models.data.windows import Scoring
from lstm_sweep.search.driver.state import SweepState, with_attempts
from lstm_sweep.search.engines.worker import CorpusTraining
from lstm_sweep.search.values.trial import Job, Slot, Trial


def job_of(trial: Trial, slot: Slot, folder: Path = Path("/none")) -> Job:
    """A job whose training nobody begins."""
    training = CorpusTraining(folder, Scoring(1, 0))
    return Job(trial=trial, slot=slot, training=training, folder=folder)


def with_trials(
    state: SweepState,
    finished: Iterable[Trial] = (),
    running: Iterable[Trial] = (),
    waiting: Iterable[Trial] = (),
) -> SweepState:
    """A sweep that is as new, but for trials that have ended, that run, and that wait."""
    known = with_attempts(state, tuple(finished), tuple(waiting))
    return replace(known, running={progress.slot: progress for progress in running})
