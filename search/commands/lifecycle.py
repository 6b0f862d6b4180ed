"""`sweeps`, `status`, `stop` and `ui`: sweeps that run elsewhere, or have ended."""

from __future__ import annotations

import time
from argparse import Namespace
from pathlib import Path

from rich.table import Table

from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.models.wording import for_command_line
from lstm_sweep.search import api
from lstm_sweep.search.api.status_report import SweepStatusReport
from lstm_sweep.search.commands.display import duration, loss_text, open_console
from lstm_sweep.search.commands.exits import DONE
from lstm_sweep.search.commands.terminal import plain, print_json, print_left_out
from lstm_sweep.search.store.settings import load

#: seconds between two looks of `status --follow`
FOLLOW_S = 2.0


def sweeps(arguments: Namespace) -> int:
    """List sweeps, oldest first."""
    settings = load(Path.cwd())
    found = api.sweeps(settings=settings)
    print_left_out(found.left_out)
    if arguments.json:
        print_json(found.to_list())
        return DONE
    if not found.rows:
        print(f"no sweeps in {settings}; lstm-sweep launch begins one")
        return DONE
    table = Table("sweep", "state", "trials", "best loss", "data")
    for row in found:
        loss = loss_text(row.best_val_loss)
        table.add_row(row.sweep, plain(row.state), str(row.trials_done), loss, plain(row.data))
    open_console().print(table)
    return DONE


def status(arguments: Namespace) -> int:
    """Print the state of a sweep; with `--follow`, at each change, until it has ended."""
    settings = load(Path.cwd())
    report = api.status(arguments.sweep, settings=settings)
    line = _line(report)
    while arguments.follow and report.is_under_way:
        if not arguments.json:
            print(line, flush=True)
        while report.is_under_way and _line(report) == line:
            time.sleep(FOLLOW_S)
            report = api.status(arguments.sweep, settings=settings)
        line = _line(report)
    if arguments.json:
        print_json(report.to_dict())
    else:
        print(line)
    return DONE


def _line(report: SweepStatusReport) -> str:
    """The state of a sweep in a line for people."""
    counts = ", ".join(f"{count} {outcome}" for outcome, count in report.trials.items())
    parts = [report.state, counts or "no trials yet"]
    if report.best:
        parts.append(f"best {report.best.trial} {loss_text(report.best.val_loss)}")
    if report.eta_seconds is not None:
        parts.append(f"about {duration(report.eta_seconds)} left")
    why = f" ({plain(report.why)})" if report.why else ""
    return f"sweep {report.sweep}: {'; '.join(parts)}{why}"


def stop(arguments: Namespace) -> int:
    """End a sweep that runs elsewhere, and wait until it has ended."""
    stopped = api.stop(arguments.sweep, settings=load(Path.cwd()))
    print_left_out(stopped.left_out)
    if arguments.json:
        print_json(stopped.to_dict())
        return DONE
    line = f"sweep {stopped.sweep}: {stopped.state}"
    line += ", nothing to stop" if stopped.had_ended else ""
    print(f"{line}; {for_command_line(stopped.advice)}" if stopped.advice else line)
    return DONE


def ui(arguments: Namespace) -> int:
    """Serve the MLflow UI until interrupted."""
    from lstm_sweep.search.store.server import serve

    port = arguments.port
    if port is not None and not 0 < port < 65536:
        raise InputError(f"--port is {shown(port)}: expected 1 to 65535")
    return serve(load(Path.cwd()), arguments.host, port, as_json=arguments.json)
