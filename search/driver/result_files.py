"""Numbers and the report of a sweep, kept in its run."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from lstm_sweep.models.documents import json_text
from lstm_sweep.models.scoring import unknown_text
from lstm_sweep.search.driver.read_back import EVIDENCE, read_findings
from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.driver.task import Task
from lstm_sweep.search.policy.ladder import LadderReport
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.report.figures import Findings
from lstm_sweep.search.report.report_page import report_page
from lstm_sweep.search.store import experiment
from lstm_sweep.search.store.faults import StoreError, reason
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import MlflowStore, Store

#: name of the report among the files of a sweep's run
REPORT = "report.html"


def describe(state: SweepState) -> str:
    """A sweep's result in Markdown; MLflow shows the first lines, and the others on request."""
    best = state.best
    if best is None or best.ranked_loss is None:
        return "No trial has a result."
    objective = best.objective
    in_bits = objective.bits_per_symbol(best.ranked_loss)
    lines = [
        f"**{best.id}** is the best trial: {best.ranked_loss:.4f}"
        f"{'' if in_bits is None else f', or {in_bits:.4f} bits per symbol'} "
        f"({best.config.headline()}).",
        "",
    ]
    rows = [(f"best trial, {best.id}", best.ranked_loss), *state.baselines.items()]
    lines += [f"| | {objective.name} |", "| --- | --- |"]
    lines += [f"| {name.replace('_', ' ')} | {loss:.4f} |" for name, loss in rows]
    if text := unknown_text(state.unknown_share):
        lines += ["", f"{text}."]
    config = ", ".join(f"{name} {value}" for name, value in best.config.to_dict().items())
    lines += ["", f"Config of the best trial: {config}."]
    report = state.report
    if report and report.ladder and report.ladder.decision:
        lines += ["", f"Ladder of learning rates: {report.ladder.decision.reason}."]
    if state.confirmed:
        lines += ["", "Trained again:", "", *(f"- {one}" for one in state.confirmed)]
    return "\n".join(lines)


def evidence(state: SweepState, task: Task, found: Findings | None) -> dict[str, Any]:
    report = state.report
    return {
        "sweep": state.name,
        "loss": task.runs.objective.name,
        "training_symbols": task.training_symbols,
        "size_rule": [state.spec.size_low, state.spec.size_high],
        "baselines": state.baselines,
        "unknown_share": state.unknown_share,
        "time": state.time_spent.to_dict(),
        "best_over_time": [{"seconds": t, "val_loss": loss} for t, loss in state.best_over_time],
        "ladder": _ladder(report.ladder) if report and report.ladder else None,
        "importance": found.importance or None if found else None,
        "verdicts": asdict(found.verdicts) if found and found.verdicts else None,
        "confirmed": [one.to_dict() for one in state.confirmed],
        "trials": [
            {
                "trial": progress.id,
                "phase": str(progress.phase),
                "outcome": str(progress.ended.outcome) if progress.ended else None,
                "parameters": task.parameters_of(progress.config),
                "val_loss": progress.ranked_loss,
                "losses": progress.val_losses,
                "rounds_per_epoch": progress.rounds_per_epoch,
            }
            for progress in state.finished
        ],
    }


def _ladder(found: LadderReport) -> dict[str, Any]:
    return {
        "rates": [step.rate for step in found.steps],
        "losses": [None if step.loss == math.inf else step.loss for step in found.steps],
        "best": found.decision.best if found.decision else None,
        "reason": found.decision.reason if found.decision else "not finished",
        "learning_rates": found.learning_rates,
    }


def log_best_model(
    task: Task, store: Store, state: SweepState, said: Callable[[str], None]
) -> None:
    """Log the network of the best trial, if that can be done; `export` does it otherwise.

    A store that does not answer is not waited for. Models are MLflow's: a store in memory has none.
    """
    best = state.best
    if best is None or not isinstance(store, MlflowStore):
        return
    try:
        with experiment.applied(store.settings):
            task.log_model(store, best)
    except Exception as error:  # the sweep has ended in order, and its weights are in the store
        own = isinstance(error, StoreError | OSError | ValueError)
        kind = "" if own else f"{type(error).__name__}: "
        said(f"the best model was not logged: {kind}{reason(error)}")


def keep_result(task: Task, store: Store, state: SweepState, said: Callable[[str], None]) -> None:
    """Keep numbers and a report that show why the best trial is the best.

    The sweep's run is closed, and another driver may already use its folder. What cannot be kept
    matters less than a sweep that has ended in order.
    """
    found, told, best = None, None, state.best
    try:
        if best and (checked := task.check_verdicts(store, best)):
            store.log(state.run_id, tags={Tag.VERDICTS: checked.to_text()})
    except Exception as error:
        said(f"verdicts were not checked: {one_line(error)}")
    try:
        told = task.evidence(store, best) if best else None
    except Exception as error:
        said(f"the report does not say how well classes are told: {one_line(error)}")
    try:
        found = replace(read_findings(store, store.run(state.run_id)), classes=told)
        store.keep_text(state.run_id, page_of(found), REPORT)
    except Exception as error:
        said(f"no report was saved: {one_line(error)}")
    try:
        numbers = evidence(state, task, found)
        numbers |= {"classes": told.to_dict()} if told else {}
        store.keep_text(state.run_id, json_text(numbers, indent=1), EVIDENCE)
    except Exception as error:
        said(f"no numbers were saved: {one_line(error)}")


def page_of(found: Findings) -> str:
    """The report as an HTML page that says when it was written; without secrets."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    version = metadata.version("lstm-sweep")
    return without_secrets(report_page(found, f"Written by lstm-sweep {version} on {now}."))


def one_line(error: Exception) -> str:
    """An error in one line; the name of its class is left out if its message is enough."""
    own = isinstance(error, StoreError | OSError)
    return reason(error) if own else f"{type(error).__name__}: {reason(error)}"
