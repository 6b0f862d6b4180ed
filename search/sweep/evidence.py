"""The plots of a sweep, and the numbers behind them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from lstm_sweep.models.config import Config
from lstm_sweep.models.size import SizeRule
from lstm_sweep.search.objective import Objective
from lstm_sweep.search.policy.report import LadderReport
from lstm_sweep.search.progress import TrialProgress
from lstm_sweep.search.sweep.state import SweepState
from lstm_sweep.search.sweep.time_spent import time_spent
from lstm_sweep.search.trial import Phase

#: how the trials that are named are drawn: hues that most eyes tell apart, and dashes and marks for
#: those who see none; as in the style sheet of the report
NAMED: tuple[dict[str, Any], ...] = (
    {"color": "#005b96", "linestyle": "-", "marker": "o"},
    {"color": "#c44e00", "linestyle": (0, (9, 1.5)), "marker": "s"},
    {"color": "#007a5a", "linestyle": "-.", "marker": "^"},
    {"color": "#b0508f", "linestyle": "--", "marker": "D"},
    {"color": "#3c3c3c", "linestyle": ":", "marker": "x"},
)
#: that of the others, which is three times as dark as the page at least
GREY = "0.55"
#: lines of the baselines
DASHES: tuple[Any, ...] = (":", "-.", "--", (0, (7, 2, 1, 2, 1, 2)))


def describe(state: SweepState) -> str:
    """A sweep's result in Markdown; MLflow shows the first lines, and the others on request."""
    best = state.best
    if best is None or best.ranked_loss is None:
        return "No trial has a result."
    objective = best.trial.objective
    in_bits = objective.bits_per_symbol(best.ranked_loss)
    lines = [
        f"**{best.trial.id}** is the best trial: {best.ranked_loss:.4f}"
        f"{'' if in_bits is None else f', or {in_bits:.4f} bits per symbol'} "
        f"({best.trial.config.headline()}).",
        "",
    ]
    rows = [(f"best trial, {best.trial.id}", best.ranked_loss), *state.baselines.items()]
    lines += [f"| | {objective.name} |", "| --- | --- |"]
    lines += [f"| {name.replace('_', ' ')} | {loss:.4f} |" for name, loss in rows]
    config = ", ".join(f"{name} {value}" for name, value in best.trial.config.to_dict().items())
    lines += ["", f"Config of the best trial: {config}."]
    report = state.report
    if report and report.ladder and report.ladder.decision:
        lines += ["", f"Ladder of learning rates: {report.ladder.decision.reason}."]
    if report and report.confirmed:
        lines += ["", "Trained again:", "", *(f"- {one}" for one in report.confirmed)]
    return "\n".join(lines)


class Measured(Protocol):
    """The part of a task that plots need."""

    @property
    def objective(self) -> Objective:
        """What its trials are compared by."""

    @property
    def training_symbols(self) -> int:
        """Symbols to train on; 0 if that is not known."""

    def parameters_of(self, config: Config) -> int | None:
        """Parameters of a network; None if that is known only once it is built."""


def evidence(
    state: SweepState, task: Measured, importance: dict[str, float] | None = None
) -> dict[str, Any]:
    """Everything that the plots show, as plain values.

    `importance` is the share of the loss's variance that each hyperparameter explains.
    """
    report = state.report
    return {
        "sweep": state.name,
        "loss": task.objective.name,
        "training_symbols": task.training_symbols,
        "size_rule": [state.spec.size_low, state.spec.size_high],
        "baselines": state.baselines,
        "time": time_spent(state).to_dict(),
        "best_over_time": [{"seconds": t, "val_loss": loss} for t, loss in state.best_over_time],
        "ladder": _ladder(report.ladder) if report and report.ladder else None,
        "importance": importance,
        "confirmed": [one.to_dict() for one in report.confirmed] if report else [],
        "trials": [
            {
                "trial": progress.trial.id,
                "phase": str(progress.trial.phase),
                "outcome": str(progress.ended.outcome) if progress.ended else None,
                "parameters": task.parameters_of(progress.trial.config),
                "val_loss": progress.ranked_loss,
                "losses": progress.val_losses,
                "rounds_per_epoch": progress.trial.rounds_per_epoch,
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


def plots(found: dict[str, Any], state: SweepState) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """The plots for which there are numbers: their names, and the functions that draw them."""
    if state.finished:
        yield "learning_curves", lambda file: plot_learning_curves(state, file)
        yield "best_over_time", lambda file: _draw(_best_over_time, found, file)
        if any(trial["parameters"] is not None for trial in found["trials"]):
            yield "parameters", lambda file: _draw(_parameters, found, file)
    if found["ladder"] and any(loss is not None for loss in found["ladder"]["losses"]):
        yield "ladder", lambda file: _draw(_ladder_curve, found, file)
    if found["importance"]:
        yield "importance", lambda file: _draw(_importance, found, file)


def _draw(
    picture: Callable[[Any, dict[str, Any]], None], found: dict[str, Any], file: Path
) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    picture(axes, found)
    _save(axes, file)


def _save(axes: Any, file: Path) -> None:
    """Write the figure of `axes` as a picture, without a frame above and on the right."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.figure.savefig(file, dpi=120)


def _draw_baselines(axes: Any, baselines: Mapping[str, float]) -> None:
    for style, (name, loss) in zip(itertools.cycle(DASHES), baselines.items(), strict=False):
        label = f"{name.replace('_', ' ')}: {loss:.3f}"
        axes.axhline(loss, color="black", linewidth=1, linestyle=style, label=label, zorder=0)


def _best_over_time(axes: Any, found: dict[str, Any]) -> None:
    points = found["best_over_time"]
    if points:
        axes.step(
            [point["seconds"] / 60 for point in points],
            [point["val_loss"] for point in points],
            where="post",
            label=f"best: {points[-1]['val_loss']:.3f}",
        )
    _draw_baselines(axes, found["baselines"])
    axes.set_xlabel("minutes")
    axes.set_ylabel(f"best {found['loss']}")
    axes.set_title(f"{found['sweep']}: best loss over time")
    if points or found["baselines"]:
        axes.legend(frameon=False, fontsize="small")


def _parameters(axes: Any, found: dict[str, Any]) -> None:
    low, high = SizeRule(*found["size_rule"]).bounds(found["training_symbols"])
    axes.set_xscale("log")
    for phase, look in zip((Phase.LADDER, Phase.SEARCH, Phase.CONFIRM), NAMED, strict=False):
        dots = [t for t in found["trials"] if t["phase"] == phase and t["val_loss"] is not None]
        if dots:
            axes.scatter(
                [dot["parameters"] for dot in dots],
                [dot["val_loss"] for dot in dots],
                s=16,
                color=look["color"],
                marker=look["marker"],
                label=str(phase),
            )
    axes.axvspan(low, high, color="0.93", zorder=-1, label=f"size rule: {low:,.0f} to {high:,.0f}")
    _draw_baselines(axes, found["baselines"])
    axes.set_xlabel("parameters")
    axes.set_ylabel("best validation loss (nats per symbol)")
    axes.set_title(f"{found['sweep']}: parameters and loss")
    axes.legend(frameon=False, fontsize="small")


def _ladder_curve(axes: Any, found: dict[str, Any]) -> None:
    steps = list(zip(found["ladder"]["rates"], found["ladder"]["losses"], strict=True))
    known = [(rate, loss) for rate, loss in steps if loss is not None]
    axes.set_xscale("log")
    axes.plot(*zip(*known, strict=True), marker="o", label="trials of the ladder")
    for rate, loss in steps:
        if loss is None:
            axes.axvline(rate, color=GREY, linewidth=1, zorder=-1)
    if found["ladder"]["best"]:
        searched = found["ladder"]["learning_rates"]
        ends = searched if isinstance(searched, list) else (searched["low"], searched["high"])
        label = "where the search goes on"
        axes.axvspan(min(ends), max(ends), color="0.93", zorder=-2, label=label)
    axes.set_xlabel("learning rate (grey lines: no result)")
    axes.set_ylabel(f"best {found['loss']}")
    axes.set_title(f"{found['sweep']}: ladder of learning rates")
    axes.legend(frameon=False, fontsize="small")


def _importance(axes: Any, found: dict[str, Any]) -> None:
    shares = dict(reversed(found["importance"].items()))
    shares = {"interactions": max(0.0, 1 - sum(shares.values()))} | shares
    names = [name.replace("_", " ") for name in shares]
    bars = axes.barh(names, list(shares.values()))
    axes.bar_label(bars, [f"{share:.0%}" for share in shares.values()], padding=3)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the variance of the loss")
    axes.set_title(f"{found['sweep']}: what matters (functional ANOVA)")


def plot_learning_curves(state: SweepState, file: Path) -> None:
    """Draw validation loss over the epochs of all trials, with the baselines as lines."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(11, 5), layout="constrained")
    axes = figure.add_subplot()
    best = state.ranked[: len(NAMED)]
    for progress in state.finished:
        if progress.rounds and progress not in best:
            axes.plot(*_curve(progress), color=GREY, linewidth=1, marker=".", zorder=1)
    for progress, look in zip(best, NAMED, strict=False):
        axes.plot(*_curve(progress), **look, markersize=5, label=_name(progress), zorder=2)
    _draw_baselines(axes, state.baselines)
    axes.set_xlabel("epoch")
    axes.set_ylabel(state.finished[0].trial.objective.round_name)
    whole = all(progress.trial.rounds_per_epoch == 1 for progress in state.finished)
    axes.xaxis.set_major_locator(MaxNLocator(integer=whole))
    axes.set_title(f"{state.name}: {len(state.finished)} trials")
    if best or state.baselines:
        figure.legend(loc="outside right upper", fontsize="small", frameon=False)
    _save(axes, file)


def _name(progress: TrialProgress) -> str:
    known, label = f"{progress.trial.id}: {progress.ranked_loss:.3f}", progress.trial.config.label()
    return f"{known}  {label}" if label else known


def _curve(progress: TrialProgress) -> tuple[list[float], list[float]]:
    """Epochs after which there is a finite loss, and these losses."""
    rounds = enumerate(progress.val_losses, start=1)
    losses = {progress.trial.epochs_after(n): loss for n, loss in rounds if loss is not None}
    return list(losses), list(losses.values())
