"""`delete` and `prune`, here and by a service; what is heavy is imported where it is used."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.client.connection import Connection, RefusedError
from lstm_sweep.search.commands.exits import DONE
from lstm_sweep.search.commands.option_types import age
from lstm_sweep.search.texts.deleted import deleted_lines, pruned_lines, runs_text
from lstm_sweep.search.texts.terminal import plain, print_json, print_left_out

Document = dict[str, Any]


def add_delete(commands: Any) -> None:
    """Add the command `delete`."""
    command = commands.add_parser("delete", help="delete a sweep, its runs and their files")
    command.add_argument("sweep", metavar="NAME")
    _add_yes(command)


def add_prune(commands: Any) -> None:
    """Add the command `prune`."""
    command = commands.add_parser("prune", help="delete sweeps that ended long ago")
    command.add_argument(
        "--older-than", type=age, required=True, metavar="AGE", help="such as 30d, 12h or 4w"
    )
    command.add_argument(
        "--keep-best", action="store_true", help="keep each sweep's run, baselines and best trial"
    )
    command.add_argument("--dry-run", action="store_true", help="only list what would be deleted")
    _add_yes(command)


def _add_yes(command: Any) -> None:
    command.add_argument("--yes", action="store_true", help="do not ask")


def delete(arguments: Namespace) -> int:
    """Delete a sweep."""
    from lstm_sweep.search import api
    from lstm_sweep.search.store.settings import load

    settings = load(Path.cwd())

    def do(dry_run: bool) -> Document:
        return api.delete(arguments.sweep, settings=settings, dry_run=dry_run).to_dict()

    return _delete(arguments, do)


def prune(arguments: Namespace) -> int:
    """Delete sweeps that ended long ago, or all of them but their best trials."""
    from lstm_sweep.search import api
    from lstm_sweep.search.store.settings import load

    settings = load(Path.cwd())

    def do(dry_run: bool) -> Document:
        found = api.prune(
            settings=settings,
            older_than_s=arguments.older_than,
            keep_best=arguments.keep_best,
            dry_run=dry_run,
        )
        return found.to_dict()

    return _prune(arguments, do)


def delete_there(arguments: Namespace, service: Connection) -> int:
    """Let a service delete a sweep; a request deletes as much as it has time for."""

    def do(dry_run: bool) -> Document:
        def ask() -> Document:
            found = service.send("DELETE", "sweeps", arguments.sweep, query={"dry_run": dry_run})
            return dict(found.document())

        return ask() if dry_run else _until_done(ask)

    return _delete(arguments, do)


def prune_there(arguments: Namespace, service: Connection) -> int:
    """Let a service delete sweeps that ended long ago."""
    asked = {"older_than_seconds": arguments.older_than, "keep_best": arguments.keep_best}

    def do(dry_run: bool) -> Document:
        def ask() -> Document:
            body = asked | {"dry_run": dry_run}
            return dict(service.send("POST", "prune", document=body).document())

        return ask() if dry_run else _until_done(ask)

    return _prune(arguments, do)


def _until_done(ask: Callable[[], Document]) -> Document:
    """What several requests have deleted, until nothing is left."""
    found, more = ask(), True
    while more:
        if not (more := bool(found["left"])):
            break
        try:
            again = ask()
        except RefusedError as error:
            if error.status != 404:  # the rest was deleted although its answer was lost
                raise
            return found | {"left": 0}
        for name in ("runs", "bytes", "marked", "kept"):
            again[name] += found[name]
        if "sweeps" in found:
            again["sweeps"] = _joined(found["sweeps"], again["sweeps"])
        found = again
    return found


def _joined(first: list[Document], then: list[Document]) -> list[Document]:
    """Sweeps of two answers; one that is in both was deleted by both."""
    by_name = {one["sweep"]: one for one in first}
    for one in then:
        if before := by_name.get(one["sweep"]):
            for name in ("runs", "bytes", "marked", "kept"):
                one[name] += before[name]
        by_name[one["sweep"]] = one
    return list(by_name.values())


def _delete(arguments: Namespace, do: Callable[[bool], Document]) -> int:
    if not arguments.yes:
        would = do(True)
        _confirm(f"delete sweep {plain(arguments.sweep)}: {runs_text(would)}?")
    found = do(False)
    if arguments.json:
        print_json(found)
    else:
        print("\n".join(deleted_lines(found)))
    return DONE


def _prune(arguments: Namespace, do: Callable[[bool], Document]) -> int:
    found = _pruned(arguments, do)
    print_left_out(found["left_out"])
    if arguments.json:
        print_json(found)
    else:
        print("\n".join(pruned_lines(found, would=arguments.dry_run)))
    return DONE


def _pruned(arguments: Namespace, do: Callable[[bool], Document]) -> Document:
    """What was deleted, or would be, once whoever is at the terminal has said yes."""
    if arguments.yes and not arguments.dry_run:
        return do(False)
    would = do(True)
    count = len(would["sweeps"])
    if arguments.dry_run or not count:
        return would
    _confirm(f"prune {count} sweep{'' if count == 1 else 's'}: {runs_text(would)}?")
    return do(False)


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
