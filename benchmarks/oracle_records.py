"""What searches and oracles had by when, the file that keeps it, and the table of ratios."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.contest_records import Event, Improving, read_lines
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.sweep.time_spent import TimeSpent

SEARCH, ORACLE = "search", "oracle"
#: shares of an oracle's time after which its loss is compared: 5, 10 and 20 of 20 minutes
MARKS = (0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Run(Improving):
    """What a search or an oracle found with one seed."""

    #: `search` or `oracle`
    kind: str
    seed: int
    #: fingerprint of the corpus
    corpus: str
    #: for how long it might run
    minutes: float
    #: trials at once
    workers: int
    #: what `launch` was given beside data and budget
    settings: str
    #: how finely its trials report, and on how many targets they are scored
    rounds_per_epoch: int
    targets: int
    #: fields of the config with the lowest loss
    config: dict[str, Any]
    #: pairs of seconds and a validation loss lower than all before; a search's count from the start
    #: of its process, an oracle's from that of its trial
    improvements: list[tuple[float, float]]
    #: validation targets on which the best network was scored again, and its loss on them
    rescored: int = 0
    rescored_loss: float | None = None
    #: the loss at which a search was ended, with time left; None if it had all its time
    until_loss: float | None = None
    #: how many targets are side by side; runs of earlier versions drew each by itself
    adjacent: int = 1
    #: how many trials were scored or have diverged by phase, and `diverged` of those in the search;
    #: empty in runs of earlier versions
    judged: dict[str, int] = field(default_factory=dict)
    #: seconds of slots by what they were used for, as `launch --json` prints them; empty if the
    #: sweep was ended before it had said so
    spent: dict[str, float | None] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """A line of a file of runs."""
        return {**vars(self), "improvements": [list(pair) for pair in self.improvements]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Run:
        """Read a line of a file of runs."""
        pairs = [(second, loss) for second, loss in values["improvements"]]
        return cls(**{**values, "improvements": pairs})


def read_runs(file: Path) -> list[Run]:
    """The runs that a file has, one a line; none if there is no such file."""
    return read_lines(file, Run.from_dict)


def improvements(events: Iterable[Event], begin: float = 0.0) -> list[tuple[float, float]]:
    """When the best loss fell, in seconds since `begin`, and to what."""
    best, found = math.inf, []
    for event in sorted(events, key=lambda event: event.seconds):
        if event.val_loss is not None and event.val_loss < best:
            best = event.val_loss
            found.append((round(event.seconds - begin, 3), best))
    return found


def best_config(runs: Sequence[Run]) -> dict[str, Any]:
    """The config with the lowest loss that searches have found.

    Raises:
        InputError: there is none.
    """
    searches = [run for run in runs if run.kind == SEARCH and run.improvements]
    if not searches:
        raise InputError("no search has a loss, expected one; or give the config by --set")
    return min(searches, key=lambda run: run.best).config


def missing(runs: Sequence[Run], seeds: int) -> list[int]:
    """Seeds below `seeds` of which there is no search."""
    found = {run.seed for run in runs if run.kind == SEARCH}
    return [seed for seed in range(seeds) if seed not in found]


def losses_table(name: str, runs: Sequence[Run], reach: Sequence[float] = ()) -> str:
    """What each search had after quarters of its time, when it last gained, and when it had losses.

    Without searches it is about the oracles. `reach` are the losses of which that is said. If any
    network was scored again on more targets, the last column has the losses on these.
    """
    kind = SEARCH if any(run.kind == SEARCH for run in runs) else ORACLE
    found = sorted((run for run in runs if run.kind == kind), key=lambda run: run.seed)
    if not found:
        return f"{name}: no searches and no oracles, expected some"
    times = [found[0].minutes * quarter / 4 for quarter in (1, 2, 3, 4)]
    head = "".join(f"{f'{time:g} min':>10}" for time in times) + f"{'last gain':>11}"
    asked = "".join(f"{f's to {loss:g}':>13}" for loss in reach)
    again = max(run.rescored for run in found)
    also = f"{f'on {again:,}':>13}" if again else ""
    lines = [f"{name:<14}{head}{asked}{also}"]
    rows = [
        [run.best_at(60 * time) for time in times]
        + [run.improvements[-1][0] if run.improvements else math.inf]
        + [run.reached(loss) for loss in reach]
        + ([math.inf if run.rescored_loss is None else run.rescored_loss] if again else [])
        for run in found
    ]
    medians = [statistics.median(column) for column in zip(*rows, strict=True)]
    labels = [*(f"seed {run.seed}{_ended(run)}" for run in found), "median"]
    for label, row in zip(labels, [*rows, medians], strict=True):
        cells = "".join(f"{_shown(value, '.4f'):>10}" for value in row[: len(times)])
        cells += f"{_shown(row[len(times)], '.0f'):>11}"
        reached = row[len(times) + 1 : len(times) + 1 + len(reach)]
        cells += "".join(f"{_shown(value, '.0f'):>13}" for value in reached)
        cells += f"{_shown(row[-1], '.4f'):>13}" if again else ""
        lines.append(f"{label:<14}{cells}")
    return "\n".join([*lines, *filter(None, map(_trials, found))])


def _trials(run: Run) -> str:
    """How many trials a search judged, and where its time went; empty if that is not known."""
    if not run.judged:
        return ""
    counts = ", ".join(f"{count} {name}" for name, count in run.judged.items())
    spent = TimeSpent.from_dict(run.spent)
    return f"seed {run.seed}: trials judged: {counts}" + (f"; time: {spent}" if spent else "")


def _ended(run: Run) -> str:
    """A mark of a search that was ended with time left: later losses are its last one."""
    return "" if run.until_loss is None else ", ended"


def _shown(value: float, form: str) -> str:
    return f"{value:{form}}" if math.isfinite(value) else "never"


def table(name: str, runs: Sequence[Run]) -> str:
    """For each seed and mark: how long the oracle took to its loss, and the search to that.

    A search is compared with the oracle of its seed, or with the first if there is none.
    """
    oracles = {run.seed: run for run in runs if run.kind == ORACLE}
    searches = sorted((run for run in runs if run.kind == SEARCH), key=lambda run: run.seed)
    if not oracles or not searches:
        return f"{name}: {len(searches)} searches and {len(oracles)} oracles, expected some of both"
    minutes = next(iter(oracles.values())).minutes
    marks = [minutes * share for share in MARKS]
    head = "".join(f"{f'{mark:g} min':>30}" for mark in marks)
    columns = f"{'oracle':>8}{'at s':>7}{'search s':>9}{'ratio':>6}"
    lines = [f"{name:<14}{head}{'at the end':>20}"]
    lines.append(f"{'seed':<14}{columns * len(marks)}{'oracle':>10}{'search':>10}")
    ratios: list[list[float]] = [[] for _ in marks]
    for search in searches:
        oracle = oracles.get(search.seed, next(iter(oracles.values())))
        cells = ""
        for found, mark in zip(ratios, marks, strict=True):
            loss = oracle.best_at(60 * mark)
            # before the oracle has a loss there is nothing to compare
            own = oracle.reached(loss) if math.isfinite(loss) else math.inf
            needed = search.reached(loss)
            found.append(needed / own if math.isfinite(own) else math.nan)
            shown = f"{needed:.0f}" if math.isfinite(needed) else "never"
            cells += f"{loss:>8.4f}{own:>7.0f}{shown:>9}{_text(found[-1], search, own):>6}"
        label = f"{search.seed}{_ended(search)}"
        lines.append(f"{label:<14}{cells}{oracle.best:>10.4f}{search.best:>10.4f}")
    medians = "".join(f"{_ratio_text(statistics.median(found)):>30}" for found in ratios)
    lines.append(f"{'median ratio':<14}{medians}")
    return "\n".join(lines)


def _ratio_text(ratio: float) -> str:
    return f"{ratio:.2f}" if math.isfinite(ratio) else "never"


def _text(ratio: float, search: Run, own: float) -> str:
    """A ratio; of a search that never came there what it is at least."""
    if math.isfinite(ratio) or not math.isfinite(own):
        return f"{ratio:.2f}"
    return f">{60 * search.minutes / own:.1f}"
