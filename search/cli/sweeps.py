"""`sweeps`, `status`, `stop`, `pause`, `ui`, `delete` and `prune`."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from lstm_sweep.models.errors import InputError, plain, shown
from lstm_sweep.search.actions.deletion import Deleted, Pruned
from lstm_sweep.search.actions.lifecycle import StoppedSweep
from lstm_sweep.search.actions.listings import SweepPage, SweepRow
from lstm_sweep.search.actions.remote import Actions
from lstm_sweep.search.actions.status_report import SweepStatusReport
from lstm_sweep.search.cli.progress import open_console
from lstm_sweep.search.cli.terminal import DONE, OLDER, print_json, print_left_out, say_older
from lstm_sweep.search.store.deletion import Freed
from lstm_sweep.search.store.settings import load
from lstm_sweep.search.values.texts import loss_text, time_left_text

if TYPE_CHECKING:
    from lstm_sweep.search.store.server import Pages


def sweeps(arguments: Namespace, actions: Actions) -> int:
    """List sweeps, the newest first."""
    found = actions.sweeps(arguments.limit)
    print_left_out(found.left_out)
    if arguments.json:
        print_json(found.to_list())
        if found.next_page:
            say_older()
        return DONE
    write_sweeps(open_console(), found, str(actions) if not found.rows else "")
    return DONE


def status(arguments: Namespace, actions: Actions) -> int:
    """Print the state of a sweep; with `--follow`, at each change, until it has ended."""
    name = arguments.sweep
    reports = actions.follow(name) if arguments.follow else iter([actions.status(name)])
    before = ""
    for report in reports:
        line = status_line(report)
        if not arguments.json and line != before:
            print(line, flush=True)
        before = line
    if arguments.json:
        print_json(report.to_dict())
    return DONE


def stop(arguments: Namespace, actions: Actions) -> int:
    """End a sweep that runs elsewhere, or waits, and wait until it has ended."""
    return _print_stopped(actions.stop(arguments.sweep), arguments)


def pause(arguments: Namespace, actions: Actions) -> int:
    """Let a sweep that runs elsewhere wait until `resume`."""
    return _print_stopped(actions.pause(arguments.sweep), arguments)


def _print_stopped(stopped: StoppedSweep, arguments: Namespace) -> int:
    print_left_out(stopped.left_out)
    if arguments.json:
        print_json(stopped.to_dict())
        return DONE
    print(stopped_line(stopped, arguments.command))
    return DONE


def ui(arguments: Namespace) -> int:
    """Serve the MLflow UI until interrupted."""
    from lstm_sweep.search.store.server import serve

    port = arguments.port
    if port is not None and not 0 < port < 65536:
        raise InputError(f"--port is {shown(port)}: expected 1 to 65535")
    settings = load(Path.cwd())

    def announce(pages: Pages) -> None:
        _print_pages(pages, as_json=arguments.json)
        if not arguments.json and not settings.is_server:
            print("Ctrl-C ends it", flush=True)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    serve(settings, arguments.host, port, announce=announce, say=say)
    return DONE


def _print_pages(pages: Pages, *, as_json: bool) -> None:
    if as_json:
        shown = {"address": pages.address, "runs": pages.runs, "sweep": pages.sweep}
        print(json.dumps(shown), flush=True)
        return
    print(f"all runs: {pages.runs}", flush=True)
    if pages.sweep:
        print(f"newest sweep, {pages.name}: {pages.sweep}", flush=True)


def delete(arguments: Namespace, actions: Actions) -> int:
    """Delete a sweep."""
    name = arguments.sweep
    if not arguments.yes:
        would = actions.delete(name, dry_run=True)
        _confirm(f"delete sweep {plain(name)}: {runs_text(would.freed)}?")
    found = actions.delete(name)
    if arguments.json:
        print_json(found.to_dict())
    else:
        print("\n".join(deleted_lines(found)))
    return DONE


def prune(arguments: Namespace, actions: Actions) -> int:
    """Delete sweeps that ended long ago, or all of them but their best trials."""
    found = _pruned(arguments, actions)
    print_left_out(found.left_out)
    if arguments.json:
        print_json(found.to_dict())
    else:
        print("\n".join(pruned_lines(found, would=arguments.dry_run)))
    return DONE


def _pruned(arguments: Namespace, actions: Actions) -> Pruned:
    """What was deleted, or would be, once whoever is at the terminal has said yes."""

    def do(*, dry_run: bool) -> Pruned:
        keep_best = arguments.keep_best
        return actions.prune(arguments.older_than, keep_best=keep_best, dry_run=dry_run)

    if not arguments.yes or arguments.dry_run:
        would = do(dry_run=True)
        count = len(would.sweeps)
        if arguments.dry_run or not count:
            return would
        _confirm(f"prune {count} sweep{'' if count == 1 else 's'}: {runs_text(would.freed)}?")
    return do(dry_run=False)


def _confirm(question: str) -> None:
    """Ask whoever is at the terminal.

    Raises:
        InputError: nobody is, or the answer is not yes.
    """
    if not (sys.stdin and sys.stdin.isatty()):
        raise InputError(f"{question} expected --yes, since nobody can be asked here")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise InputError("nothing was deleted: expected y or yes as the answer")


UNITS = ("bytes", "kB", "MB", "GB", "TB")


def bytes_text(count: int) -> str:
    """A number of bytes for people: `34.5 MB`."""
    value, unit = float(count), 0
    while value >= 1000 and unit < len(UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.1f} {UNITS[unit]}" if unit else f"{count} {UNITS[0]}"


def runs_text(freed: Freed) -> str:
    """How much is deleted: `12 runs, 34.5 MB of files`."""
    runs = freed.runs
    return f"{runs:,} run{'' if runs == 1 else 's'}, {bytes_text(freed.bytes)} of files"


def deleted_lines(found: Deleted, *, would: bool = False) -> list[str]:
    """The lines of a sweep that was deleted, or `would` be."""
    said = "would be deleted" if would else "deleted"
    beside = " beside its best trial" if found.keeps_best else ""
    line = f"sweep {plain(found.sweep)}{beside}: {runs_text(found.freed)} {said}"
    return [line, *_more(found.freed)]


def pruned_lines(found: Pruned, *, would: bool = False) -> list[str]:
    """The lines of a store that was pruned, or `would` be."""
    lines = [line for one in found.sweeps for line in deleted_lines(one, would=would)[:1]]
    said = "would be freed" if would else "freed"
    count = len(found.sweeps)
    total = f"{count} sweep{'' if count == 1 else 's'}: {runs_text(found.freed)} {said}"
    return [*lines, total, *_more(found.freed)]


def _more(freed: Freed) -> list[str]:
    lines = [
        f"{plain(version)} stays, with the files of its model: delete it in MLflow to free those"
        for version in freed.kept
    ]
    if marked := freed.marked:
        lines.append(
            f"the tracking server lists {marked:,} of the runs as deleted; `mlflow gc` there takes "
            f"them out of its database"
        )
    return lines


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
