"""What people see: a live table while a sweep runs, or plain lines, and tables of what is done."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lstm_sweep.models.rounds import epochs_text
from lstm_sweep.search.commands.terminal import plain
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.store.trial_record import TrialRecord
from lstm_sweep.search.sweep.state import SweepState
from lstm_sweep.search.trial import Phase, TrialProgress

#: seconds between two repaints of the live table
REPAINT_S = 0.25


def duration(seconds: float | None) -> str:
    """A time for people: `42 s`, `3 min 05 s`, `2 h 10 min`; `?` if it is not known."""
    if seconds is None:
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def loss_text(loss: float | None) -> str:
    """A loss to four places, or a dash."""
    return "-" if loss is None else f"{loss:.4f}"


def _named(progress: TrialProgress) -> str:
    phase = progress.trial.phase
    return progress.trial.id + ("" if phase is Phase.SEARCH else f" ({phase})")


class Lines:
    """Plain lines, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def started(self, state: SweepState) -> None:
        """What there is to say was said before."""

    def update(self, state: SweepState) -> None:
        """Lines are written only when a trial ends."""

    def trial_ended(self, progress: TrialProgress, state: SweepState) -> None:
        """Write a line for a trial that has ended."""
        assert progress.ended
        shape = " ".join(
            f"{name} {value}" for name, value in progress.trial.config.table_columns().items()
        )
        reason = f" ({plain(progress.ended.reason)})" if progress.ended.reason else ""
        done = sum(state.counts.values())
        self.said(
            f"[{done}/{state.spec.trials}] {_named(progress)} {progress.ended.outcome} "
            f"loss {loss_text(progress.best_loss)} in {duration(progress.seconds)}; {shape}; "
            f"{_best_text(state)}{reason}"
        )

    def ended(self, state: SweepState) -> None:
        """Nothing to clear."""

    def said(self, text: str) -> None:
        """Write a line, without the secrets that an error may have brought into it."""
        self._console.print(without_secrets(text), markup=False, highlight=False, soft_wrap=True)


class LiveTable(Lines):
    """A table that is repainted in place, with a line for each trial that ends above it."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._painted = 0.0

    def started(self, state: SweepState) -> None:
        """Show the table from now on."""
        self._live.start()

    def ended(self, state: SweepState) -> None:
        """Take the table away."""
        self._live.stop()

    def update(self, state: SweepState) -> None:
        """Repaint, if the last time is long enough ago."""
        if state.now - self._painted >= REPAINT_S:
            self._painted = state.now
            self._live.update(_running(state), refresh=True)


def _running(state: SweepState) -> Group:
    shown = [progress.trial.config.table_columns() for progress in state.running.values()]
    table = Table("slot", "trial", *(shown[0] if shown else ()), "epoch", "loss", "best", box=None)
    for slot in state.slots:
        progress = state.running.get(slot)
        if progress is None:
            table.add_row(str(slot), Text("free", style="dim"))
            continue
        config, latest = progress.trial.config, progress.latest
        table.add_row(
            str(slot),
            _named(progress),
            *config.table_columns().values(),
            _epoch_text(progress),
            loss_text(latest.loss if latest else None),
            loss_text(progress.best_loss),
        )
    ended = sum(state.counts.values())
    summary = (
        f"{ended} of {state.spec.trials} trials, {_best_text(state)}, "
        f"{duration(state.seconds)} gone, about {duration(state.seconds_left)} left"
    )
    return Group(table, Text(summary, style="bold"))


def _best_text(state: SweepState) -> str:
    """The best trial and its loss so far, and whether it runs still."""
    if state.leader is None:
        return "no result yet"
    progress, loss = state.leader
    return f"best {progress.trial.id} {loss_text(loss)}{'' if progress.ended else ' (running)'}"


def _epoch_text(progress: TrialProgress) -> str:
    """The epoch that a trial is in, of how many if that is known, and the share of it.

    If an epoch has several rounds, the epochs that are trained.
    """
    planned, rounds = progress.trial.config.planned_epochs, progress.trial.rounds_per_epoch
    share = progress.latest.share if progress.latest else None
    done = len(progress.rounds)
    if rounds > 1:
        return f"{epochs_text((done + (share or 0.0)) / rounds, rounds)}/{planned}"
    epoch = str(done + 1) if planned is None else f"{min(done + 1, planned)}/{planned}"
    return epoch if share is None else f"{epoch} {share:.0%}"


def _best_epoch_text(record: TrialRecord) -> str:
    """The epochs after which a trial was best, of how many."""
    rounds = record.trial.rounds_per_epoch
    best = epochs_text(record.best_epoch, rounds) if record.best_epoch else "-"
    return f"{best}/{epochs_text(record.epochs, rounds)}"


def trials_table(records: Iterable[TrialRecord], title: str = "") -> Table:
    """Trials as they stand in the store."""
    records = list(records)
    shape = records[0].trial.config.table_columns() if records else {}
    table = Table("trial", "phase", "outcome", "loss", "bits", "epoch", *shape, "parameters")
    table.title = title or None
    for record in records:
        loss = record.best_val_loss
        table.add_row(
            record.trial.id,
            str(record.trial.phase),
            record.outcome or record.status.lower(),
            loss_text(loss),
            loss_text(record.trial.objective.bits_per_symbol(loss)),
            _best_epoch_text(record),
            *record.trial.config.table_columns().values(),
            f"{record.parameters:,}" if record.parameters else "-",
        )
    return table


def open_console(*, stderr: bool = False) -> Console:
    """A console for tables and lines; wide enough for tables when nobody watches.

    All text comes out as it is, also in tables: `[a, b]` is no markup, and `:car:` no picture.
    """
    width = None if stderr or sys.stdout.isatty() else 140
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)
