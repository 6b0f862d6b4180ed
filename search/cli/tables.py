"""Tables of trials, and numbers as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from lstm_sweep.models.rounds import epochs_text
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.values.texts import loss_text


def _epochs_texts(record: TrialRecord) -> tuple[str, str]:
    """The epochs that a trial was trained, of how many if that is known, and when it was best."""
    rounds, planned = record.trial.rounds_per_epoch, record.trial.config.planned_epochs
    trained = epochs_text(record.epochs, rounds)
    best = epochs_text(record.best_epoch, rounds) if record.best_epoch else "-"
    return trained if planned is None else f"{trained}/{planned}", best


def trials_table(records: Iterable[TrialRecord], width: int, title: str = "") -> Table:
    """Trials as they stand in the store, in a table of so many characters at most."""
    records = list(records)
    shape = list(records[0].trial.config.table_columns()) if records else []
    head = ["trial", "phase", "outcome", "loss", "bits", "epochs", "best epoch", *shape]
    rows = []
    for record in records:
        loss = record.best_loss
        row = [
            record.trial.id,
            str(record.trial.phase),
            record.state,
            loss_text(loss),
            loss_text(record.trial.objective.bits_per_symbol(loss)),
            *_epochs_texts(record),
            *record.trial.config.table_columns().values(),
            f"{record.parameters:,}" if record.parameters else "-",
        ]
        rows.append(row)
    first_to_go = [*reversed(shape), "bits", "parameters", "phase", "best epoch", "epochs"]
    table = fitted([*head, "parameters"], rows, width, [*first_to_go, "outcome"])
    table.title = title or None
    return table


def fitted(
    head: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    width: int,
    may_go: Iterable[str],
    *,
    boxed: bool = True,
) -> Table:
    """A table without the first of the columns that `may_go` if it would be wider than `width`.

    A cell is never broken into lines for want of room while another column may go.
    """
    shown, left = list(range(len(head))), list(may_go)
    while left and _width(head, rows, shown, boxed=boxed) > width:
        gone = left.pop(0)
        shown = [place for place in shown if head[place] != gone]
    table = Table(*(head[place] for place in shown))
    if not boxed:
        table.box = None
    for row in rows:
        table.add_row(*(row[place] for place in shown if place < len(row)))
    return table


def _width(
    head: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    shown: Sequence[int],
    *,
    boxed: bool,
) -> int:
    """Characters that a line of a table takes: each cell has a space on either side."""
    cells = [[head[place], *(row[place] for row in rows if place < len(row))] for place in shown]
    widths = [max(cell_len(str(cell)) for cell in column) for column in cells]
    return sum(widths) + (3 * len(widths) + 1 if boxed else 2 * len(widths))
