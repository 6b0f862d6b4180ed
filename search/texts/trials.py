"""The trials of a sweep, one of them round by round, and two side by side."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from lstm_sweep.models.rounds import epochs_text
from lstm_sweep.search.api.listings import SweepTrials, TrialDetails
from lstm_sweep.search.api.trial_comparison import TrialComparison
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.texts import curve
from lstm_sweep.search.texts.sweeps import sweeps_table
from lstm_sweep.search.texts.tables import loss_text, trials_table
from lstm_sweep.search.texts.terminal import plain

#: what is drawn of a trial
LOSS = "val_loss"


def write_trials(console: Console, found: SweepTrials, sweep: str) -> None:
    """Print the trials of a sweep as a table, and its baselines."""
    console.print(trials_table(found, console.width, sweep))
    if found.next_page:
        console.print(f"there are more than these {len(found)}", soft_wrap=True)
    for name, loss in found.baselines.items():
        console.print(f"baseline {name.replace('_', ' '):<12} {loss:.4f}")


def write_trial(console: Console, trial: TrialDetails) -> None:
    """Print one trial, round by round."""
    record = trial.record
    console.print(trials_table([record], console.width))
    if record.reason:
        console.print(f"reason: {plain(record.reason)}")
    table = Table("epoch", *map(plain, record.results))
    for row in trial.by_epoch:
        epoch = epochs_text(row["epoch"], record.trial.rounds_per_epoch)
        table.add_row(epoch, *(loss_text(row[name]) for name in record.results))
    console.print(table)
    _print_curves(console, trial)
    _show_details(console, record)


def write_comparison(console: Console, found: TrialComparison) -> None:
    """Print two trials side by side, and the sweeps whose best ones they are."""
    if found.sweeps:
        console.print(sweeps_table(found.sweeps))
    records = [found.first.record, found.second.record]
    same_kind = len({tuple(one.trial.config.table_columns()) for one in records}) == 1
    for shown in [records] if same_kind else [[one] for one in records]:
        console.print(trials_table(shown, console.width))
    table = Table("field", *(one.trial.id for one in records))
    for name, values in found.differences.items():
        table.add_row(plain(name), *("-" if v is None else plain(v) for v in values))
    console.print(table if found.differences else "their configs are the same")
    _print_curves(console, found.first, found.second)
    console.print(plain(found.verdict))


def _print_curves(console: Console, *trials: TrialDetails) -> None:
    """Draw the validation losses of trials, if somebody looks at a terminal."""
    if not console.is_terminal:
        return
    curves = [[(row["epoch"], row.get(LOSS)) for row in trial.by_epoch] for trial in trials]
    ascii_only = not curve.can_encode(console.encoding)
    lines = curve.drawn(curves, ascii_only=ascii_only)
    marks = curve.ASCII if ascii_only else curve.UNICODE
    if lines:
        names = (f"{marks[n]} {trial.record.trial.id}" for n, trial in enumerate(trials))
        console.print(f"validation loss: {', '.join(names)}")
    for line in lines:
        console.print(line, soft_wrap=True)


def _show_details(console: Console, record: TrialRecord) -> None:
    config = record.trial.config
    console.print(f"config: {plain(config.describe())}")
    versions = ", ".join(
        f"{tag.removeprefix(Tag.VERSION)} {plain(value)}"
        for tag, value in sorted(record.tags.items())
        if tag.startswith(Tag.VERSION)
    )
    kept = "kept" if record.has_weights else "not kept"
    console.print(f"run {record.run_id}, seed {record.trial.seed}, weights {kept}")
    device = plain(record.tags.get(Tag.DEVICE, ""))
    console.print(f"{device}; {plain(versions)}", markup=False)
    if record.rerun_of:
        verdict = record.tags.get(Tag.VERDICT, "")
        console.print(f"a rerun of run {plain(record.rerun_of)}: {plain(verdict)}", markup=False)
