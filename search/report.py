"""A sweep as pictures."""

from __future__ import annotations

from pathlib import Path

from search.state import State

#: trials drawn in colour and named; the others are grey
NAMED = 5


def describe(state: State) -> str:
    """A sweep's result in Markdown."""
    best = state.best
    if best is None or best.ranked_loss is None:
        return "No trial has a result."
    rows = [(f"best trial, {best.trial.id}", best.ranked_loss), *state.baselines.items()]
    lines = ["| | validation loss (nats per symbol) |", "| --- | --- |"]
    lines += [f"| {name.replace('_', ' ')} | {loss:.4f} |" for name, loss in rows]
    config = ", ".join(f"{name} {value}" for name, value in best.trial.config.to_dict().items())
    return "\n".join([*lines, "", f"Config of the best trial: {config}."])


def plot_learning_curves(state: State, file: Path) -> None:
    """Draw validation loss over epochs of all trials, with the baselines as lines."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(11, 5), layout="constrained")
    axes = figure.add_subplot()
    best = state.ranked[:NAMED]
    for course in state.finished:
        if course.epochs and course not in best:
            axes.plot(*_curve(course.epochs), color="0.8", linewidth=1, marker=".", zorder=1)
    for course in best:
        config = course.trial.config
        name = (
            f"{course.trial.id}: {course.ranked_loss:.3f}  {config.direction} "
            f"{config.layers}x{config.layer_size}, lr {config.learning_rate:g}"
        )
        axes.plot(*_curve(course.epochs), marker="o", markersize=4, label=name, zorder=2)
    for style, (name, loss) in zip((":", "-.", "--"), state.baselines.items(), strict=False):
        label = f"{name.replace('_', ' ')}: {loss:.3f}"
        axes.axhline(loss, color="black", linewidth=1, linestyle=style, label=label, zorder=0)
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation loss (nats per symbol)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(f"{state.name}: {len(state.finished)} trials")
    figure.legend(loc="outside right upper", fontsize="small", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=120)


def _curve(epochs: list[dict[str, float]]) -> tuple[list[int], list[float]]:
    losses = [epoch["val_loss"] for epoch in epochs]
    return list(range(1, len(losses) + 1)), losses
