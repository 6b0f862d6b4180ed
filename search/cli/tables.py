"""Tables of trials and sweeps, and tables that fit their terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from lstm_sweep.models.errors import plain
from lstm_sweep.models.rounds import epochs_text
from lstm_sweep.search.actions.sweeps import SweepRow
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.values.texts import loss_text


@dataclass(frozen=True)
class FittedTable:
    """A table that lacks the first of the columns that `may_go` where there is no room for it.

    A cell is never broken into lines while another column may go.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str | Text]]
    may_go: Sequence[str]
    title: str = ""
    boxed: bool = True

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown, unlimited = list(range(len(self.head))), options.update(width=9_999)
        for gone in self.may_go:
            if Measurement.get(console, unlimited, self._of(shown)).maximum <= options.max_width:
                break
            shown = [place for place in shown if self.head[place] != gone]
        yield self._of(shown)

    def _of(self, shown: Sequence[int]) -> Table:
        table = Table(*(self.head[place] for place in shown), title=self.title or None)
        if not self.boxed:
            table.box = None
        for row in self.rows:
            table.add_row(*(row[place] for place in shown if place < len(row)))
        return table


def trials_table(records: Iterable[TrialRecord], title: str = "") -> FittedTable:
    """Trials as they stand in the store."""
    records = list(records)
    shape = list(records[0].config.table_columns()) if records else []
    head = ["trial", "phase", "outcome", "loss", "bits", "epochs", "best epoch", *shape]
    rows = []
    for record in records:
        loss = record.best_loss
        trained = epochs_text(record.epochs, record.rounds_per_epoch)
        planned = record.config.planned_epochs
        best = record.best_epoch and epochs_text(record.best_epoch, record.rounds_per_epoch)
        row = [
            record.id,
            str(record.phase),
            record.state,
            loss_text(loss),
            loss_text(record.objective.bits_per_symbol(loss)),
            trained if planned is None else f"{trained}/{planned}",
            best or "-",
            *record.config.table_columns().values(),
            f"{record.parameters:,}" if record.parameters else "-",
        ]
        rows.append(row)
    first_to_go = [*reversed(shape), "bits", "parameters", "phase", "best epoch", "epochs"]
    return FittedTable([*head, "parameters"], rows, [*first_to_go, "outcome"], title)


def sweeps_table(rows: Iterable[SweepRow]) -> Table:
    """Sweeps, a line each; of their data the name of the file or folder."""
    table = Table("sweep", "state", "trials", "best loss", "data")
    for row in rows:
        loss, data = loss_text(row.best_val_loss), PurePath(row.data or "-").name
        table.add_row(row.sweep, plain(row.state), str(row.trials_done), loss, plain(data))
    return table
