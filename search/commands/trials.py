"""`trials`, `show` and `size`: what is tried in a sweep."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lstm_sweep.models.errors import InputError
from lstm_sweep.models.rounds import epochs_text
from lstm_sweep.search import api
from lstm_sweep.search.commands.display import loss_text, open_console, trials_table
from lstm_sweep.search.commands.exits import DONE
from lstm_sweep.search.commands.launch import spec_of
from lstm_sweep.search.commands.terminal import plain, print_json, print_left_out
from lstm_sweep.search.store.settings import load
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.trial_record import TrialRecord


def trials(arguments: Namespace) -> int:
    """List the trials of a sweep, the best first, those without a result last."""
    found = api.trials(arguments.sweep, settings=load(Path.cwd()), top=arguments.top)
    print_left_out(found.left_out)
    if arguments.json:
        print_json(found.to_list())
        return DONE
    console = open_console()
    console.print(trials_table(found, arguments.sweep))
    for name, loss in found.baselines.items():
        console.print(f"baseline {name.replace('_', ' '):<12} {loss:.4f}")
    return DONE


def show(arguments: Namespace) -> int:
    """Show one trial, round by round."""
    trial = api.show(arguments.trial, settings=load(Path.cwd()))
    if arguments.json:
        print_json(trial.to_dict())
        return DONE
    record, console = trial.record, open_console()
    console.print(trials_table([record]))
    if record.reason:
        console.print(f"reason: {plain(record.reason)}")
    table = Table("epoch", *map(plain, record.results))
    for row in trial.by_epoch:
        epoch = epochs_text(row["epoch"], record.trial.rounds_per_epoch)
        table.add_row(epoch, *(loss_text(row[name]) for name in record.results))
    console.print(table)
    _show_details(console, record)
    return DONE


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


def size(arguments: Namespace) -> int:
    """Say what the size rule thinks of the networks of a space."""
    if arguments.data is None:
        raise InputError("--data is missing: expected a path or a sample")
    report = api.size(spec_of(arguments))
    if arguments.json:
        print_json(report.to_dict())
        return DONE
    print(f"corpus: {report.corpus}")
    print(f"corpus: {report.training_symbols:,} training symbols, alphabet {report.alphabet}")
    for network in report.networks:
        config = network.config
        size = f"{config.layers}x{config.layer_size}"
        print(f"{config.direction} {size}: {network.verdict.reason}")
    if len(report.networks) < report.structures:
        passed = f"{report.admitted} of them pass"
        print(f"smallest and largest of {report.structures} networks; {passed}")
    if report.refused:
        print(f"a sweep would refuse this: {report.refused}")
    return DONE
