"""Lets trials wait whose slots other sweeps need."""

from __future__ import annotations

from lstm_sweep.search.engines.base import Engine
from lstm_sweep.search.sweep.state import SweepState
from lstm_sweep.search.trial import Paused


def make_room(engine: Engine, state: SweepState) -> None:
    """Tell trials to wait whose slots other sweeps need, those that began last first.

    One that runs code of the user has no checkpoint: it keeps its slot until it ends.
    """
    if state.closing or not (surplus := engine.surplus()):
        return
    running = (one for one in state.running.values() if one.started and one.job)
    may_wait = [one for one in running if one.job and not one.job.training.runs_user_code]
    for progress in sorted(may_wait, key=lambda one: -one.stretch_began)[:surplus]:
        epoch = progress.trial.epoch_text(len(progress.rounds))
        engine.stop(progress.slot, Paused(f"at epoch {epoch}: makes room", makes_room=True))
