"""Table and plot of what the contestants found."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contest_records import CURED, OURS, Run

#: seconds before which a comparison says nothing: programs start, and corpora are read
SETTLED_S = 30.0
#: hues and marks of the other tools
HUES = (
    "#005b96", "#c44e00", "#007a5a", "#b0508f", "#6b5b00", "#3f007d", "#7f0000", "#525252",
)  # fmt: skip
MARKS = ("o", "s", "^", "D", "v", "P", "X", "<")


def _grouped(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each contestant: ours first, then by name."""
    labels = sorted({run.contestant for run in runs}, key=lambda label: (label != OURS, label))
    return {label: [run for run in runs if run.contestant == label] for label in labels}


def _median_best(runs: Sequence[Run]) -> float:
    return statistics.median(run.best for run in runs)


def table(runs: Sequence[Run]) -> str:
    """Medians over the seeds: how good each contestant is at its end, how fast, how soon.

    The target is the median of the losses that the best peer has at its end; the best peer is the
    one for which that is lowest, run as its users do.
    """
    groups = _grouped(runs)
    peers = [label for label in groups if label != OURS and not label.endswith(CURED)]
    lines = []
    best_peer = min(peers, key=lambda label: _median_best(groups[label])) if peers else None
    target = _median_best(groups[best_peer]) if best_peer else math.inf
    setting = runs[0].setting
    times = {
        label: [run.reached(target) for run in group] if best_peer else []
        for label, group in groups.items()
    }
    ours = statistics.median(times.get(OURS) or [math.inf])
    head = (
        "contestant", "seeds", "final loss", "configs/h", "epochs/h", "time to target", "ratio",
        "ahead of ours",
    )  # fmt: skip
    rows = [head]
    for label, group in groups.items():
        hours = setting.minutes / 60
        rows.append(
            (
                label,
                str(len(group)),
                f"{_median_best(group):.4f}" if math.isfinite(_median_best(group)) else "none",
                f"{statistics.median(run.configs for run in group) / hours:.0f}",
                f"{statistics.median(run.epochs for run in group) / hours:.0f}",
                _time_to_target(times[label]),
                _ratio(times[label], ours, 60 * setting.minutes),
                _spans_text(group, groups.get(OURS, [])) if label != OURS else "-",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells[1:]]))
    about = f"{setting.minutes:g} minutes each, direction {setting.direction}, "
    lines.append(f"{about}{setting.workers} at once; losses in nats per symbol, medians over seeds")
    if best_peer:
        lines.append(
            f"target: {target:.4f}, the median of what {best_peer} has at its end; ratio: time to "
            f"it, divided by that of {OURS}"
        )
        lines.append(
            f"ahead of ours: when its median loss is lower than that of {OURS}, after the first "
            f"{SETTLED_S:.0f} s"
        )
    return "\n".join(lines)


def ahead(group: Sequence[Run], ours: Sequence[Run]) -> list[tuple[float, float]]:
    """Spans of time in seconds in which the median loss of a contestant is lower than ours.

    Those before `SETTLED_S` are left out.
    """
    end = 60 * group[0].setting.minutes
    found = {seconds for run in (*group, *ours) for seconds, _ in run.improvements}
    moments = sorted({SETTLED_S, *(moment for moment in found if SETTLED_S < moment < end)})
    spans: list[tuple[float, float]] = []
    for moment, following in itertools.pairwise([*moments, end]):
        if _median_at(group, moment) >= _median_at(ours, moment):
            continue
        if spans and spans[-1][1] == moment:
            spans[-1] = (spans[-1][0], following)
        else:
            spans.append((moment, following))
    return spans


def _median_at(runs: Sequence[Run], moment: float) -> float:
    return statistics.median(run.best_at(moment) for run in runs)


def _spans_text(group: Sequence[Run], ours: Sequence[Run]) -> str:
    if not ours:
        return "-"
    spans = [f"{begin:.0f}-{end:.0f} s" for begin, end in ahead(group, ours)]
    return ", ".join(spans) or "never"


def _time_to_target(times: Sequence[float]) -> str:
    if not times:
        return "-"
    median, reached = statistics.median(times), sum(map(math.isfinite, times))
    share = f" ({reached} of {len(times)})" if reached < len(times) else ""
    return f"{f'{median:.0f} s' if math.isfinite(median) else 'never'}{share}"


def _ratio(times: Sequence[float], ours: float, budget: float) -> str:
    """How many times longer than ours; for one that never gets there, what it is at least."""
    if not times or not math.isfinite(ours):
        return "-"
    median = statistics.median(times)
    return f"{median / ours:.2f}" if math.isfinite(median) else f"over {budget / ours:.2f}"


def _look(label: str, groups: Iterable[str]) -> dict[str, Any]:
    """How the line of a contestant is drawn: who sees no hues tells it by its mark.

    One that is cured has the mark of the other, hollow, on a line of dashes.
    """
    if label == OURS:
        return {"linewidth": 2.4, "color": "black"}
    cured = label.endswith(CURED)
    names = list(dict.fromkeys(one.removesuffix(CURED) for one in groups if one != OURS))
    place = names.index(label.removesuffix(CURED))
    color, mark = HUES[place % len(HUES)], MARKS[place % len(MARKS)]
    return {
        "color": color,
        "marker": mark,
        "markevery": (0.03 * (1 + place), 0.12),
        "markersize": 6,
        "markerfacecolor": "white" if cured else color,
        "linestyle": "--" if cured else "-",
        "linewidth": 1.4,
    }


def plot(runs: Sequence[Run], file: Path) -> None:
    """Draw the best loss over time: the median over seeds as a line, lowest to highest as a band.

    A line begins when there is a loss for each seed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.5), layout="constrained")
    axes = figure.add_subplot()
    end, groups = 60 * runs[0].setting.minutes, _grouped(runs)
    for label, group in groups.items():
        found = {seconds for run in group for seconds, _ in run.improvements}
        seconds = np.array(sorted(found | {end}))
        losses = np.array([[run.best_at(moment) for moment in seconds] for run in group])
        seen = np.isfinite(losses).all(axis=0)  # [moments]
        if not seen.any():
            continue
        minutes, losses = seconds[seen] / 60, losses[:, seen]
        [line] = axes.step(
            minutes, np.median(losses, axis=0), where="post", label=label, **_look(label, groups)
        )
        axes.fill_between(
            minutes, losses.min(axis=0), losses.max(axis=0), step="post", alpha=0.15,
            color=line.get_color(), linewidth=0,
        )  # fmt: skip
    axes.set_xlabel("minutes since the start of the process")
    axes.set_ylabel("best validation loss (nats per symbol)")
    axes.set_xlim(0, end / 60)
    finals = [loss for group in groups.values() if math.isfinite(loss := _median_best(group))]
    if finals:  # the first losses may be many times as high
        spread = max(finals) - min(finals) + 0.1
        axes.set_ylim(min(finals) - 0.2 * spread, max(finals) + spread)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=120)
