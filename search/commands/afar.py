"""Commands that a service runs: the same words, from a machine that has nothing but Python.

Only the standard library is imported. Tables and lines come from the service, which prints them
for the terminal that is here.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import Any, TypeAlias

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.client.connection import SERVER, TOKEN, Connection, check_address
from lstm_sweep.search.client.listening import events
from lstm_sweep.search.commands.afar_files import export, report
from lstm_sweep.search.commands.afar_launch import launch, resume
from lstm_sweep.search.commands.afar_printing import TERMINAL, TEXT, print_text, say, terminal
from lstm_sweep.search.commands.afar_spec import size
from lstm_sweep.search.commands.afar_trials import compare, rerun, show
from lstm_sweep.search.commands.deletion import delete_there, prune_there
from lstm_sweep.search.commands.exits import DONE
from lstm_sweep.search.commands.option_types import check_one_format
from lstm_sweep.search.texts.terminal import print_csv, print_json, print_left_out, say_older

Command: TypeAlias = Callable[[Namespace, Connection], int]
#: rows of the longest answer
LARGEST = 1_000
#: fields of the JSON of `stop` and `pause`
STOPPED = ("sweep", "run_id", "state")


def add_options(name: str, command: ArgumentParser) -> None:
    """Add the options by which a service runs a command, if it can."""
    if name in COMMANDS:
        command.add_argument(
            "--server", metavar="URL", help=f"let a service do it (default: ${SERVER})"
        )
    if name in ("launch", "resume"):
        command.add_argument(
            "--detach", action="store_true", help="with --server: do not wait for the end"
        )


def address_of(arguments: Namespace) -> str:
    """The service that `--server` or the variable names; empty if a command runs here."""
    if not hasattr(arguments, "server"):
        return ""
    given: str | None = arguments.server
    if given is not None:
        return check_address(given, "--server")
    if found := os.environ.get(SERVER, ""):
        return check_address(found, SERVER)
    if getattr(arguments, "detach", False):
        raise InputError("--detach is given without a service: expected --server URL with it")
    return ""


def run(arguments: Namespace, address: str) -> int:
    """Run a command by a service; return the exit code."""
    headers = {TERMINAL: terminal()}
    service = Connection(address, os.environ.get(TOKEN, ""), say=say, headers=headers)
    return COMMANDS[arguments.command](arguments, service)


def _listed(
    path: tuple[str, ...], rows: str, option: str
) -> Callable[[Namespace, Connection], int]:
    """A command that lists something; `rows` is where its JSON stands in the answer.

    `option` says how many rows are listed: all if it has no number, but for a table, which has so
    many as one answer.
    """

    def command(arguments: Namespace, service: Connection) -> int:
        parts = [part.format(**vars(arguments)) for part in path]
        limit: int | None = getattr(arguments, option)
        if limit is not None and limit < 1:
            raise InputError(f"--{option} is {limit}: expected at least 1")
        check_one_format(arguments)
        as_csv = getattr(arguments, "csv", False)
        if not (arguments.json or as_csv):
            print_text(service.get(*parts, accept=TEXT, limit=min(limit or LARGEST, LARGEST)))
            return DONE
        found, page = list[Any](), ""
        while page is not None and (limit is None or len(found) < limit):
            most = LARGEST if limit is None else min(limit - len(found), LARGEST)
            some = service.get(*parts, limit=most, page=page).document()
            print_left_out(some["left_out"])
            found += some[rows]
            page = some["next_page"]
        (print_csv if as_csv else print_json)(found)
        if page is not None and rows == "sweeps":
            say_older()
        return DONE

    return command


def status(arguments: Namespace, service: Connection) -> int:
    """Print the state of a sweep; with `--follow`, at each change, until it has ended."""
    path, before = ("sweeps", arguments.sweep), b""
    if arguments.follow:
        service = service.lasting()
        for event in events(service, arguments.sweep):
            if event.name == "status" and not arguments.json:
                before = _print_changed(service, path, before)
    if arguments.json:
        found = service.get(*path).document()
        found.pop("owner")
        print_json(found)
    else:  # of a sweep that is followed too, since it may end while the connection is broken
        _print_changed(service, path, before)
    return DONE


def _print_changed(service: Connection, path: tuple[str, ...], before: bytes) -> bytes:
    """Print the state of a sweep unless it is as before; what it is now."""
    answer = service.get(*path, accept=TEXT)
    if answer.content != before:
        print_text(answer)
    return answer.content


def _end(arguments: Namespace, service: Connection) -> int:
    """Run `stop` or `pause` on the service; return the exit code."""
    path = ("sweeps", arguments.sweep, arguments.command)
    if arguments.json:
        found = service.send("POST", *path).document()
        print_left_out(found.get("left_out", ()))
        print_json({name: found[name] for name in STOPPED})
    else:
        print_text(service.send("POST", *path, accept=TEXT))
    return DONE


#: what runs each command
COMMANDS: dict[str, Command] = {
    "launch": launch,
    "resume": resume,
    "stop": _end,
    "pause": _end,
    "delete": delete_there,
    "prune": prune_there,
    "sweeps": _listed(("sweeps",), "sweeps", "limit"),
    "status": status,
    "trials": _listed(("sweeps", "{sweep}", "trials"), "trials", "top"),
    "show": show,
    "compare": compare,
    "rerun": rerun,
    "export": export,
    "report": report,
    "size": size,
}
