"""`trials`, `show`, `report`, `compare` and `size`: what is tried in a sweep."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from rich.table import Table
from rich.text import Text

from lstm_sweep.models.errors import InputError, plain
from lstm_sweep.models.rounds import epochs_text
from lstm_sweep.models.scoring import unknown_text
from lstm_sweep.search.actions.dry_run import SizeReport
from lstm_sweep.search.actions.remote import Actions
from lstm_sweep.search.actions.sweeps import SweepTrials, TrialComparison, TrialDetails
from lstm_sweep.search.cli.launch import SHOWN, result_text, wanted
from lstm_sweep.search.cli.progress import trials_table
from lstm_sweep.search.cli.sweeps import status_line, sweeps_table
from lstm_sweep.search.cli.terminal import Answer, csv_text, say_left_out
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.values.documents import loss_text
from lstm_sweep.search.values.spec import check_name


def trials(arguments: Namespace, actions: Actions) -> Answer:
    if arguments.csv and arguments.json:
        raise InputError("--csv is given with --json: expected one of them")
    found = actions.trials(arguments.sweep, arguments.top)
    say_left_out(found.left_out)
    rows = found.to_list()
    return Answer(rows, [csv_text(rows)] if arguments.csv else _listed(found, arguments.sweep))


def _listed(found: SweepTrials, sweep: str) -> Iterator[Any]:
    yield trials_table(found, sweep)
    if found.next_page:
        yield f"there are more than these {len(found)}"
    width = max([12, *map(len, found.baselines)])
    for name, loss in found.baselines.items():
        yield f"baseline {name.replace('_', ' '):<{width}} {loss:.4f}"


def show(arguments: Namespace, actions: Actions) -> Answer:
    name = arguments.reference
    if not actions.means_sweep(name):
        trial = actions.show(name)
        return Answer(trial.to_dict(), _trial_text(trial))
    result = actions.result(name)
    if arguments.json:
        return Answer(result.to_dict())
    status, best = actions.status(name), tuple(actions.trials(name, SHOWN))
    if result.has_ended:
        return Answer(None, result_text(result, best, actions))
    so_far = [one for one in best if one.best_loss is not None][:SHOWN]
    table = [trials_table(so_far, f"{name}: the best so far")] if so_far else []
    return Answer(None, [status_line(status), *table])


def _trial_text(trial: TrialDetails) -> Iterator[Any]:
    record = trial.record
    yield trials_table([record])
    if record.reason:
        yield f"reason: {plain(record.reason)}"
    table = Table("epoch", *map(plain, record.results))
    for row in trial.by_epoch:
        epoch = epochs_text(row["epoch"], record.rounds_per_epoch)
        table.add_row(epoch, *(loss_text(row[name]) for name in record.results))
    yield table
    yield from _details(record)


def _details(record: TrialRecord) -> Iterator[Any]:
    yield Text(f"config: {plain(record.config.describe())}")  # broken between words
    versions = ", ".join(
        f"{tag.removeprefix(Tag.VERSION)} {plain(value)}"
        for tag, value in sorted(record.tags.items())
        if tag.startswith(Tag.VERSION)
    )
    kept = "kept" if record.has_weights else "not kept"
    yield f"run {record.run_id}, seed {record.seed}, weights {kept}"
    yield f"{plain(record.tags.get(Tag.DEVICE, ''))}; {plain(versions)}"
    if record.rerun_of:
        verdict = record.tags.get(Tag.VERDICT, "")
        yield f"a rerun of run {plain(record.rerun_of)}: {plain(verdict)}"


def report(arguments: Namespace, actions: Actions) -> Answer:
    name = arguments.sweep
    check_name("sweep", name)
    to = f"{name}-report.html" if arguments.to is None else arguments.to
    found = actions.report(name, to, data=arguments.data, labels=arguments.labels)
    return Answer(found.to_dict(), [plain(found.headline), f"{name} -> {found.file}"])


def compare(arguments: Namespace, actions: Actions) -> Answer:
    found = actions.compare(arguments.first, arguments.other)
    return Answer(found.to_dict(), _comparison(found))


def _comparison(found: TrialComparison) -> Iterator[Any]:
    if found.sweeps:
        yield sweeps_table(found.sweeps)
    records = [found.first.record, found.second.record]
    same_kind = len({tuple(one.config.table_columns()) for one in records}) == 1
    for shown in [records] if same_kind else [[one] for one in records]:
        yield trials_table(shown)
    table = Table("field", *(one.id for one in records))
    for name, values in found.differences.items():
        table.add_row(plain(name), *("-" if v is None else plain(v) for v in values))
    yield table if found.differences else "their configs are the same"
    yield plain(found.verdict)


def size(arguments: Namespace, actions: Actions) -> Answer:
    if arguments.data is None:
        raise InputError("--data is missing: expected a path or a sample")
    found = actions.size(wanted(arguments, actions))
    return Answer(found.to_dict(), _size_lines(found))


def _size_lines(report: SizeReport) -> Iterator[str]:
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
