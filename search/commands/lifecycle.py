"""`sweeps`, `status`, `stop`, `pause` and `ui`: sweeps that run elsewhere, or have ended."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.actions import Actions
from lstm_sweep.search.api.lifecycle import StoppedSweep
from lstm_sweep.search.commands.display import open_console
from lstm_sweep.search.commands.exits import DONE
from lstm_sweep.search.store.settings import load
from lstm_sweep.search.texts.sweeps import status_line, stopped_line, write_sweeps
from lstm_sweep.search.texts.terminal import print_json, print_left_out, say_older

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
