"""Makes the network of a sweep's best trial a logged model of MLflow when the sweep has ended."""

from __future__ import annotations

from lstm_sweep.search.store import mlflow_setup
from lstm_sweep.search.store.faults import StoreError, reason
from lstm_sweep.search.store.tracking import Store, at_once
from lstm_sweep.search.sweep.observer import Viewer
from lstm_sweep.search.sweep.state import SweepState
from lstm_sweep.search.sweep.task import Task


def log_best_model(task: Task, store: Store, state: SweepState, viewer: Viewer) -> None:
    """Log the network of the best trial, if that can be done; `export` does it otherwise.

    A store that does not answer is not waited for.
    """
    best = state.best
    if best is None:
        return
    try:
        with mlflow_setup.applied(store.settings):
            task.log_model(at_once(store), best)
    except Exception as error:  # the sweep has ended in order, and its weights are in the store
        own = isinstance(error, StoreError | OSError | ValueError)
        kind = "" if own else f"{type(error).__name__}: "
        viewer.said(f"the best model was not logged: {kind}{reason(error)}")
