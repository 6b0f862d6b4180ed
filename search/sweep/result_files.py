"""Numbers and the report of a sweep, kept in its run."""

from __future__ import annotations

from lstm_sweep.models.strict_json import json_text
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.store.faults import StoreError, reason
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.sweep import evidence
from lstm_sweep.search.sweep.observer import Viewer
from lstm_sweep.search.sweep.state import SweepState
from lstm_sweep.search.sweep.stored_report import keep_report
from lstm_sweep.search.sweep.task import Task


def keep_result(
    task: Task, store: Store, state: SweepState, policy: Policy | None, viewer: Viewer
) -> None:
    """Keep numbers and a report that show why the best trial is the best.

    The sweep's run is closed, and another driver may already use its folder. What cannot be kept
    matters less than a sweep that has ended in order.
    """
    importance = None
    try:
        importance = policy.importance() if policy else None
        found = evidence.evidence(state, task, importance)
        store.keep_text(state.run_id, json_text(found, indent=1), "evidence.json")
    except Exception as error:
        viewer.said(f"no numbers were saved: {one_line(error)}")
    try:
        keep_report(store, state.run_id, importance)
    except Exception as error:
        viewer.said(f"no report was saved: {one_line(error)}")


def one_line(error: Exception) -> str:
    """An error in one line; the name of its class is left out if its message is enough."""
    own = isinstance(error, StoreError | OSError)
    return reason(error) if own else f"{type(error).__name__}: {reason(error)}"
