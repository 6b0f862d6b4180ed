"""`token add`, `token list` and `token revoke`: who may use a service."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from rich.table import Table

from lstm_sweep.models.errors import plain
from lstm_sweep.search.cli.progress import open_console
from lstm_sweep.search.cli.terminal import DONE, print_json
from lstm_sweep.search.service.auth import TokenFile
from lstm_sweep.search.service.settings import service_folder
from lstm_sweep.search.store.settings import load


def token(arguments: Namespace) -> int:
    """Make, list or revoke tokens of the service on a store."""
    here = Path.cwd()
    file = TokenFile(service_folder(load(here, given=arguments.store or ""), here))
    actions = {"add": _add, "list": _list, "revoke": _revoke}
    return actions[arguments.action](file, arguments)


def _add(file: TokenFile, arguments: Namespace) -> int:
    made = file.add(arguments.name, arguments.role)
    if arguments.json:
        print_json({"name": arguments.name, "role": arguments.role, "token": made})
    else:
        print(made)
    return DONE


def _list(file: TokenFile, arguments: Namespace) -> int:
    rows = file.rows()
    if arguments.json:
        print_json([row.to_dict() for row in rows])
        return DONE
    if not rows:
        print(f"no tokens in {file.file}; lstm-sweep token add NAME --role run makes one")
        return DONE
    table = Table("name", "role", "made")
    for row in rows:
        table.add_row(plain(row.name), row.role, plain(row.created))
    open_console().print(table)
    return DONE


def _revoke(file: TokenFile, arguments: Namespace) -> int:
    row = file.revoke(arguments.name)
    if arguments.json:
        print_json(row.to_dict())
    else:
        print(f"token '{row.name}' is refused from now on")
    return DONE
