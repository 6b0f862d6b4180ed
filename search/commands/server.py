"""Where commands are run: here, or by the service that `--server` names."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.client.connection import SERVER, TOKEN, Connection, check_address
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.texts.terminal import plain

if TYPE_CHECKING:
    from lstm_sweep.search.actions import Actions

#: commands that a service can run
COMMANDS = (
    "launch", "resume", "stop", "pause", "delete", "prune", "sweeps", "status", "trials", "show",
    "compare", "rerun", "export", "report", "size",
)  # fmt: skip


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


def actions_of(arguments: Namespace) -> Actions:
    """What the command of these arguments calls."""
    if address := _address_of(arguments):
        from lstm_sweep.search.actions.remote import Remote

        return Remote(Connection(address, os.environ.get(TOKEN, ""), say=say))
    from lstm_sweep.search.actions.local import Local

    return Local()


def _address_of(arguments: Namespace) -> str:
    """The service that `--server` or the variable names; empty if the command runs here."""
    given: str | None = arguments.server
    if given is not None:
        return check_address(given, "--server")
    if found := os.environ.get(SERVER, ""):
        return check_address(found, SERVER)
    if getattr(arguments, "detach", False):
        raise InputError("--detach is given without a service: expected --server URL with it")
    return ""


def say(line: str) -> None:
    """Print a line on standard error."""
    print(f"lstm-sweep: {plain(without_secrets(line))}", file=sys.stderr, flush=True)
