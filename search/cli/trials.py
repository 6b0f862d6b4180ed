"""`trials`, `show`, `report`, `compare` and `size`: what is tried in a sweep."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table

from lstm_sweep.models.errors import InputError, plain
from lstm_sweep.models.rounds import epochs_text
from lstm_sweep.models.scoring import unknown_text
from lstm_sweep.search.actions.listings import SweepTrials, TrialDetails
from lstm_sweep.search.actions.network_sizes import SizeReport
from lstm_sweep.search.actions.remote import Actions
from lstm_sweep.search.actions.trial_comparison import TrialComparison
from lstm_sweep.search.cli.launch import SHOWN, wanted, write_sweep
from lstm_sweep.search.cli.parsers import check_one_format
from lstm_sweep.search.cli.progress import open_console
from lstm_sweep.search.cli.sweeps import sweeps_table
from lstm_sweep.search.cli.tables import trials_table
from lstm_sweep.search.cli.terminal import (
    ASCII,
    DONE,
    UNICODE,
    can_encode,
    print_csv,
    print_json,
    print_left_out,
)
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.values.spec import check_name
from lstm_sweep.search.values.texts import loss_text


def trials(arguments: Namespace, actions: Actions) -> int:
    """List the trials of a sweep, the best first, those without a result last.

    While the sweep runs, the best round of a trial that has not ended is a result, too.
    """
    check_one_format(arguments)
    found = actions.trials(arguments.sweep, arguments.top)
    print_left_out(found.left_out)
    if arguments.json:
        print_json(found.to_list())
        return DONE
    if arguments.csv:
        print_csv(found.to_list())
        return DONE
    write_trials(open_console(), found, arguments.sweep)
    return DONE


def show(arguments: Namespace, actions: Actions) -> int:
    """Show a sweep with its result, or one trial, round by round."""
    if actions.means_sweep(arguments.reference):
        return _show_sweep(arguments.reference, actions, as_json=arguments.json)
    trial = actions.show(arguments.reference)
    if arguments.json:
        print_json(trial.to_dict())
        return DONE
    write_trial(open_console(), trial)
    return DONE


def _show_sweep(name: str, actions: Actions, *, as_json: bool) -> int:
    result = actions.result(name)
    if as_json:
        print_json(result.to_dict())
        return DONE
    write_sweep(open_console(), result, actions.status(name), tuple(actions.trials(name, SHOWN)))
    return DONE


def report(arguments: Namespace, actions: Actions) -> int:
    """Write the report of a sweep to a file."""
    name = arguments.sweep
    check_name("sweep", name)
    found = actions.report(name, f"{name}-report.html" if arguments.to is None else arguments.to)
    if arguments.json:
        print_json(found.to_dict())
        return DONE
    print(plain(found.headline))
    print(f"{name} -> {found.file}")
    return DONE


def compare(arguments: Namespace, actions: Actions) -> int:
    """Show two trials, or the best ones of sweeps, side by side."""
    found = actions.compare(arguments.first, arguments.other)
    if arguments.json:
        print_json(found.to_dict())
        return DONE
    write_comparison(open_console(), found)
    return DONE


def size(arguments: Namespace, actions: Actions) -> int:
    """Say what the size rule thinks of the networks of a space."""
    if arguments.data is None:
        raise InputError("--data is missing: expected a path or a sample")
    found = actions.size(wanted(arguments, actions))
    if arguments.json:
        print_json(found.to_dict())
        return DONE
    write_sizes(open_console(), found)
    return DONE


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
    ascii_only = not can_encode(console.encoding)
    lines = drawn(curves, ascii_only=ascii_only)
    marks = ASCII if ascii_only else UNICODE
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


def write_sizes(console: Console, report: SizeReport) -> None:
    """Print the sizes of networks, and whether a sweep would take them."""
    for line in _lines(report):
        console.print(line, soft_wrap=True)


def _lines(report: SizeReport) -> Iterator[str]:
    yield f"corpus: {plain(report.corpus)}"
    yield f"corpus: {report.training_symbols:,} training symbols, alphabet {report.alphabet}"
    if text := unknown_text(report.unknown_share):
        yield f"corpus: {text}"
    for network in report.networks:
        size = f"{network.layers}x{network.layer_size}"
        if network.embedding_size:
            size += f", embedding {network.embedding_size}"
        yield f"{network.direction} {size}: {network.reason}"
    if len(report.networks) < report.structures:
        passed = f"{report.admitted} of them pass"
        yield f"smallest and largest of {report.structures} networks; {passed}"
    if report.refused:
        yield f"a sweep would refuse this: {plain(report.refused)}"


#: columns and rows of a picture
WIDTH, HEIGHT = 60, 12


def drawn(
    curves: Sequence[Sequence[tuple[float, float | None]]], *, ascii_only: bool = False
) -> list[str]:
    """The lines of a picture of one curve or two; each is pairs of an epoch and a loss.

    A point without a loss is left out. Nothing is drawn if fewer than two have one.
    """
    known = [[(x, y) for x, y in curve if y is not None] for curve in curves]
    points = [point for curve in known for point in curve]
    if len({x for x, _ in points}) < 2:
        return []
    first_x, last_x = min(x for x, _ in points), max(x for x, _ in points)
    low, high = min(y for _, y in points), max(y for _, y in points)
    marks = ASCII if ascii_only else UNICODE
    cells = [[0] * WIDTH for _ in range(HEIGHT)]
    for number, curve in enumerate(known):
        for x, y in curve:
            column = round((x - first_x) / (last_x - first_x) * (WIDTH - 1))
            row = round((high - y) / (high - low or 1.0) * (HEIGHT - 1))
            cells[row][column] |= 1 << number
    lines = list[str]()
    for row, marked in enumerate(cells):
        label = {0: f"{high:.4f}", HEIGHT - 1: f"{low:.4f}"}.get(row, "")
        text = "".join(" " if not mark else marks[mark - 1] for mark in marked)
        lines.append(f"{label:>10} {marks[4]}{text}".rstrip())
    lines.append(f"{'':>10} {marks[3]}{marks[5] * WIDTH}")
    ends = f"{first_x:g}", f"epoch {last_x:g}"
    lines.append(f"{'':>12}{ends[0]}{ends[1]:>{WIDTH - len(ends[0])}}")
    return lines
