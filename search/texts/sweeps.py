"""A list of sweeps, the state of one, and what `stop` and `pause` say."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath

from rich.console import Console
from rich.table import Table

from lstm_sweep.search.api.lifecycle import StoppedSweep
from lstm_sweep.search.api.listings import SweepPage, SweepRow
from lstm_sweep.search.api.status_report import SweepStatusReport
from lstm_sweep.search.texts.tables import loss_text
from lstm_sweep.search.texts.terminal import OLDER, plain
from lstm_sweep.search.values.times import time_left_text


def write_sweeps(console: Console, found: SweepPage, place: str) -> None:
    """Print sweeps as a table; `place` is where they were looked for."""
    if not found.rows:
        console.print(f"no sweeps in {place}; lstm-sweep launch begins one", soft_wrap=True)
        return
    console.print(sweeps_table(found))
    if found.next_page:
        console.print(OLDER, soft_wrap=True)


def sweeps_table(rows: Iterable[SweepRow]) -> Table:
    """Sweeps, a line each; of their data the name of the file or folder."""
    table = Table("sweep", "state", "trials", "best loss", "data")
    for row in rows:
        loss, data = loss_text(row.best_val_loss), PurePath(row.data or "-").name
        table.add_row(row.sweep, plain(row.state), str(row.trials_done), loss, plain(data))
    return table


def status_line(report: SweepStatusReport) -> str:
    """The state of a sweep in a line for people."""
    counts = ", ".join(f"{count} {outcome}" for outcome, count in report.trials.items())
    parts = [report.state, counts or "no trials yet"]
    if report.best:
        best, running = report.best, " (not ended)" if report.best.running else ""
        parts.append(f"best {best.trial} {loss_text(best.val_loss)}{running}")
    if report.eta_seconds is not None:
        parts.append(time_left_text(report.eta_seconds))
    why = f" ({plain(report.why)})" if report.why else ""
    return f"sweep {report.sweep}: {'; '.join(parts)}{why}"


def stopped_line(stopped: StoppedSweep, command: str) -> str:
    """What `stop` or `pause`, which `command` is, has done."""
    line = f"sweep {stopped.sweep}: {stopped.state}"
    line += f", nothing to {command}" if stopped.had_ended else ""
    return f"{line}; {stopped.advice}" if stopped.advice else line
