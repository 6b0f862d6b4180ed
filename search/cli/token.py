"""`token add`, `token list` and `token revoke`: who may use a service."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from rich.table import Table

from lstm_sweep.models.errors import plain
from lstm_sweep.search.cli.terminal import Answer
from lstm_sweep.search.service.auth import TokenFile
from lstm_sweep.search.service.settings import service_folder
from lstm_sweep.search.store.settings import load


def token(arguments: Namespace) -> Answer:
    """Make, list or revoke tokens of the service on a store."""
    here = Path.cwd()
    file = TokenFile(service_folder(load(here, given=arguments.store or ""), here))
    if arguments.action == "add":
        made = file.add(arguments.name, arguments.role)
        return Answer({"name": arguments.name, "role": arguments.role, "token": made}, [made])
    if arguments.action == "revoke":
        row = file.revoke(arguments.name)
        return Answer(row.to_dict(), [f"token '{row.name}' is refused from now on"])
    rows = file.rows()
    table = Table("name", "role", "made")
    for row in rows:
        table.add_row(plain(row.name), row.role, plain(row.created))
    none = f"no tokens in {file.file}; lstm-sweep token add NAME --role run makes one"
    return Answer([row.to_dict() for row in rows], [table if rows else none])
