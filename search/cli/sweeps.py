"""`sweeps`, `status`, `stop`, `pause`, `ui`, `delete` and `prune`."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from rich.table import Table

from lstm_sweep.models.errors import InputError, plain
from lstm_sweep.search.actions.lifecycle import Deleted, Pruned, StoppedSweep
from lstm_sweep.search.actions.remote import Actions
from lstm_sweep.search.actions.sweeps import SweepPage, SweepRow, SweepStatusReport
from lstm_sweep.search.cli.terminal import DONE, Answer, say, say_left_out
from lstm_sweep.search.store.registry import Freed
from lstm_sweep.search.store.settings import load
from lstm_sweep.search.values.documents import loss_text, time_left_text

if TYPE_CHECKING:
    from lstm_sweep.search.store.server import Pages

OLDER = "there are older ones; lstm-sweep sweeps --all lists them"
UNITS = ("bytes", "kB", "MB", "GB", "TB")


def sweeps(arguments: Namespace, actions: Actions) -> Answer:
    found = actions.sweeps(arguments.limit)
    say_left_out(found.left_out)
    if arguments.json and found.next_page:
        say(OLDER)
    return Answer(found.to_list(), _listed(found, actions))


def _listed(found: SweepPage, actions: Actions) -> Iterator[Any]:
    if not found.rows:
        yield f"no sweeps in {actions}; lstm-sweep launch begins one"
        return
    yield sweeps_table(found)
    if found.next_page:
        yield OLDER


def sweeps_table(rows: Iterable[SweepRow]) -> Table:
    table = Table("sweep", "state", "trials", "best loss", "data")
    for row in rows:
        loss, data = loss_text(row.best_val_loss), PurePath(row.data or "-").name
        table.add_row(row.sweep, plain(row.state), str(row.trials_done), loss, plain(data))
    return table


def status(arguments: Namespace, actions: Actions) -> Answer:
    name = arguments.sweep
    reports = actions.follow(name) if arguments.follow else iter([actions.status(name)])
    before = ""
    for report in reports:
        line = status_line(report)
        if not arguments.json and line != before:
            print(line, flush=True)
        before = line
    return Answer(report.to_dict())


def status_line(report: SweepStatusReport) -> str:
    counts = ", ".join(f"{count} {outcome}" for outcome, count in report.trials.items())
    parts = [report.state, counts or "no trials yet"]
    if report.best:
        best, running = report.best, " (not ended)" if report.best.running else ""
        parts.append(f"best {best.trial} {loss_text(best.val_loss)}{running}")
    if report.eta_seconds is not None:
        parts.append(time_left_text(report.eta_seconds))
    why = f" ({plain(report.why)})" if report.why else ""
    return f"sweep {report.sweep}: {'; '.join(parts)}{why}"


def stop(arguments: Namespace, actions: Actions) -> Answer:
    return _stopped(actions.stop(arguments.sweep), arguments)


def pause(arguments: Namespace, actions: Actions) -> Answer:
    return _stopped(actions.pause(arguments.sweep), arguments)


def _stopped(stopped: StoppedSweep, arguments: Namespace) -> Answer:
    say_left_out(stopped.left_out)
    line = f"sweep {stopped.sweep}: {stopped.state}"
    line += f", nothing to {arguments.command}" if stopped.had_ended else ""
    return Answer(stopped.to_dict(), [f"{line}; {stopped.advice}" if stopped.advice else line])


def ui(arguments: Namespace) -> int:
    from lstm_sweep.search.store.server import serve

    settings = load(Path.cwd())

    def announce(pages: Pages) -> None:
        if arguments.json:
            found = {"address": pages.address, "runs": pages.runs, "sweep": pages.sweep}
            print(json.dumps(found), flush=True)
            return
        print(f"all runs: {pages.runs}")
        if pages.sweep:
            print(f"newest sweep, {pages.name}: {pages.sweep}")
        if not settings.is_server:
            print("Ctrl-C ends it")
        sys.stdout.flush()

    def tell(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    serve(settings, arguments.host, arguments.port, announce=announce, say=tell)
    return DONE


def delete(arguments: Namespace, actions: Actions) -> Answer:
    name = arguments.sweep
    if not arguments.yes:
        would = actions.delete(name, dry_run=True)
        _confirm(f"delete sweep {plain(name)}: {_runs_text(would)}?")
    found = actions.delete(name)
    return Answer(found.to_dict(), [_deleted_line(found, "deleted"), *_what_stays(found)])


def prune(arguments: Namespace, actions: Actions) -> Answer:
    found = _pruned(arguments, actions)
    say_left_out(found.left_out)
    be = "would be " if arguments.dry_run else ""
    total = f"{_sweeps_text(found)}: {_runs_text(found.freed)} {be}freed"
    lines = [_deleted_line(one, f"{be}deleted") for one in found.sweeps]
    return Answer(found.to_dict(), [*lines, total, *_what_stays(found.freed)])


def _pruned(arguments: Namespace, actions: Actions) -> Pruned:
    """What was deleted, or would be, once whoever is at the terminal has said yes."""
    older, keep_best = arguments.older_than, arguments.keep_best
    if not arguments.yes or arguments.dry_run:
        would = actions.prune(older, keep_best=keep_best, dry_run=True)
        if arguments.dry_run or not would.sweeps:
            return would
        _confirm(f"prune {_sweeps_text(would)}: {_runs_text(would.freed)}?")
    return actions.prune(older, keep_best=keep_best)


def _confirm(question: str) -> None:
    if not (sys.stdin and sys.stdin.isatty()):
        raise InputError(f"{question} expected --yes, since nobody can be asked here")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise InputError("nothing was deleted: expected y or yes as the answer")


def _sweeps_text(found: Pruned) -> str:
    return f"{len(found.sweeps)} sweep{'' if len(found.sweeps) == 1 else 's'}"


def _runs_text(freed: Freed) -> str:
    """How much is deleted: `12 runs, 34.5 MB of files`."""
    size, unit = float(freed.bytes), 0
    while size >= 1000 and unit < len(UNITS) - 1:
        size, unit = size / 1000, unit + 1
    files = f"{size:.1f} {UNITS[unit]}" if unit else f"{freed.bytes} {UNITS[0]}"
    return f"{freed.runs:,} run{'' if freed.runs == 1 else 's'}, {files} of files"


def _deleted_line(found: Deleted, said: str) -> str:
    beside = " beside its best trial" if found.keeps_best else ""
    return f"sweep {plain(found.sweep)}{beside}: {_runs_text(found)} {said}"


def _what_stays(freed: Freed) -> Iterator[str]:
    for version in freed.kept:
        yield (
            f"{plain(version)} stays, with the files of its model: delete it in MLflow to free "
            "those"
        )
    if marked := freed.marked:
        yield (
            f"the tracking server lists {marked:,} of the runs as deleted; `mlflow gc` there takes "
            f"them out of its database"
        )
