"""Tables of trials, and numbers as people read them."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from lstm_sweep.models.rounds import epochs_text
from lstm_sweep.search.progress import TrialProgress
from lstm_sweep.search.store.trial_record import TrialRecord


def loss_text(loss: float | None) -> str:
    """A loss to four places, or a dash."""
    return "-" if loss is None else f"{loss:.4f}"


def going_text(progress: TrialProgress) -> str:
    """Whether a trial goes on, behind its name; nothing if it has ended."""
    if progress.ended:
        return ""
    return " (paused)" if progress.paused else " (running)"


def _epochs_texts(record: TrialRecord) -> tuple[str, str]:
    """The epochs that a trial was trained, of how many if that is known, and when it was best."""
    rounds, planned = record.trial.rounds_per_epoch, record.trial.config.planned_epochs
    trained = epochs_text(record.epochs, rounds)
    best = epochs_text(record.best_epoch, rounds) if record.best_epoch else "-"
    return trained if planned is None else f"{trained}/{planned}", best


def trials_table(records: Iterable[TrialRecord], title: str = "") -> Table:
    """Trials as they stand in the store."""
    records = list(records)
    shape = records[0].trial.config.table_columns() if records else {}
    table = Table(
        "trial", "phase", "outcome", "loss", "bits", "epochs", "best epoch", *shape, "parameters"
    )
    table.title = title or None
    for record in records:
        loss = record.best_val_loss
        table.add_row(
            record.trial.id,
            str(record.trial.phase),
            record.state,
            loss_text(loss),
            loss_text(record.trial.objective.bits_per_symbol(loss)),
            *_epochs_texts(record),
            *record.trial.config.table_columns().values(),
            f"{record.parameters:,}" if record.parameters else "-",
        )
    return table
