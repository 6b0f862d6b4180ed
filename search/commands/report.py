"""`report`: a page on a sweep."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from lstm_sweep.search import api
from lstm_sweep.search.commands.exits import DONE
from lstm_sweep.search.spec import check_name
from lstm_sweep.search.store.settings import load
from lstm_sweep.search.texts.terminal import plain, print_json


def report(arguments: Namespace) -> int:
    """Write the report of a sweep to a file."""
    check_name("sweep", arguments.sweep)
    to = f"{arguments.sweep}-report.html" if arguments.to is None else arguments.to
    found = api.report(arguments.sweep, settings=load(Path.cwd()), to=to)
    if arguments.json:
        print_json(found.to_dict())
        return DONE
    print(plain(found.headline))
    print(f"{arguments.sweep} -> {found.file}")
    return DONE
