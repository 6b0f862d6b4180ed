"""`delete` and `prune`."""

from __future__ import annotations

import sys
from argparse import Namespace

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions import Actions
from lstm_sweep.search.api.deletion import Pruned
from lstm_sweep.search.commands.exits import DONE
from lstm_sweep.search.texts.deleted import deleted_lines, pruned_lines, runs_text
from lstm_sweep.search.texts.terminal import plain, print_json, print_left_out


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
