"""`completion`: what a shell completes: commands, options, names of sweeps and trials."""

from __future__ import annotations

import importlib
import sqlite3
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lstm_sweep.models.errors import InputError, one_of, shown
from lstm_sweep.search.commands.exits import DONE
from lstm_sweep.search.commands.option_types import switch
from lstm_sweep.search.texts.terminal import print_json

PROGRAM = "lstm-sweep"
#: where the script of each shell is to be put, so that it is read at its start
INSTALL = {
    "bash": '~/.bashrc: eval "$(lstm-sweep completion bash)"',
    "zsh": '~/.zshrc, after compinit: eval "$(lstm-sweep completion zsh)"',
    "fish": "~/.config/fish/config.fish: lstm-sweep completion fish | source",
}
#: seconds that a database is waited for, and names that are proposed at most
WAIT_S, MOST = 0.5, 500
#: arguments whose values are names in the store: a sweep's by its name in the code, those of trials
#: by how they are shown
SWEEP = "sweep"
TRIALS = ("TRIAL", "NAME_OR_TRIAL")
#: where the words are that an option may be; they are imported once they are asked for
WORDS = {
    "algo": ("search.policy.proposer", "ALGORITHMS"),
    "on": ("search.engine_names", "ENGINES"),
    "role": ("search.commands.token_arguments", "ROLES"),
    "size_rule": ("search.spec", "RULES"),
    "symbols": ("models.data.source", "SYMBOLS"),
}


def completion(arguments: Namespace) -> int:
    """Print the script of a shell."""
    from argcomplete.shell_integration import shellcode

    if arguments.shell not in INSTALL:
        known = one_of(arguments.shell, INSTALL)
        raise InputError(f"SHELL is {shown(arguments.shell)}: expected a shell, {known}")
    script = shellcode([PROGRAM], True, arguments.shell)
    if arguments.json:
        print_json({"shell": arguments.shell, "script": script})
        return DONE
    print(f"# {INSTALL[arguments.shell]}")
    print(script)
    return DONE


def complete(parser: ArgumentParser) -> None:
    """Answer a shell that asks for what may come next, and leave the process."""
    import argcomplete
    from argcomplete.completers import FilesCompleter

    from lstm_sweep.spaces.preset_names import PRESET_NAMES

    files = FilesCompleter()
    for action in _actions(parser):
        if action.dest == "shell":
            action.completer = lambda **_: [*INSTALL]
        elif action.dest == SWEEP:
            action.completer = lambda prefix, **_: names(prefix)
        elif action.metavar in TRIALS:
            action.completer = lambda prefix, **_: names(prefix, trials=True)
        elif action.dest == "space":
            action.completer = lambda prefix, **_: [*PRESET_NAMES, *files(prefix)]
        elif action.type is switch:
            action.completer = lambda **_: ["on", "off"]
        elif action.dest in WORDS and not action.choices:
            action.completer = lambda where=WORDS[action.dest], **_: _words(*where)
    argcomplete.autocomplete(parser, exclude=["-h", "--help"])


def _words(module: str, name: str) -> list[str]:
    return [*getattr(importlib.import_module(f"lstm_sweep.{module}"), name)]


def names(prefix: str, folder: Path | None = None, *, trials: bool = False) -> list[str]:
    """Names of sweeps, and with `trials` those of their trials, that begin with a prefix.

    They are read from the database in the store's file; of another store none are known. A sweep's
    trials are proposed once its name stands there.
    """
    from lstm_sweep.search.store.settings import load
    from lstm_sweep.search.store.tags import Tag

    try:
        file = load(folder or Path.cwd()).database_file
    except InputError:
        return []
    if file is None or not file.exists():
        return []
    kept = (
        "SELECT DISTINCT value FROM tags JOIN runs USING (run_uuid) "
        "WHERE lifecycle_stage = 'active' AND key = ? AND substr(value, 1, ?) = ? LIMIT ?"
    )
    runs = (
        "SELECT DISTINCT name FROM runs "
        "WHERE lifecycle_stage = 'active' AND substr(name, 1, ?) = ? LIMIT ?"
    )
    if trials and "/" in prefix:
        found = _rows(file, runs, (len(prefix), prefix, MOST))
        return [name for name in found if name.rpartition("/")[2].isdigit()]
    found = _rows(file, kept, (Tag.NAME, len(prefix), prefix, MOST))
    return [f"{name}/" for name in found] + found if trials else found


def _rows(file: Path, query: str, values: tuple[Any, ...]) -> list[str]:
    """The first column of a query, in order; nothing if the database does not answer."""
    try:
        connection = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", WAIT_S, uri=True)
        try:
            return sorted(str(row[0]) for row in connection.execute(query, values))
        finally:
            connection.close()
    except sqlite3.Error:
        return []


def _actions(parser: ArgumentParser) -> Iterable[Any]:
    """The arguments of all commands."""
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for command in action.choices.values():
                yield from _actions(command)
        else:
            yield action
