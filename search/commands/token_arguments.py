"""Arguments of `token`; only the standard library is imported here."""

from __future__ import annotations

import argparse
from typing import Any

#: roles and what they allow; those of `search/service/auth.py`
ROLES = {
    "read": "look at everything",
    "run": "also submit sweeps, upload, and change what is one's own",
    "admin": "also change what is others', and give priorities above 0",
}


def add_token(commands: Any) -> None:
    """Add the command `token` with its own commands."""
    command = commands.add_parser("token", help="tokens by which a service lets requests in")
    actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="make a token, which is printed once and kept hashed")
    add.add_argument("name", metavar="NAME", help="whose it is; changes are noted under it")
    add.add_argument(
        "--role",
        required=True,
        metavar="ROLE",
        help="; ".join(f"{role}: {what}" for role, what in ROLES.items()),
    )
    actions.add_parser("list", help="list tokens, without themselves")
    revoke = actions.add_parser("revoke", help="refuse a token from now on")
    revoke.add_argument("name", metavar="NAME", help="whose it is")
    for action in actions.choices.values():
        action.add_argument("--store", metavar="URI", help="that of `serve --store`")
        action.add_argument(
            "--json",
            action="store_true",
            default=argparse.SUPPRESS,
            help="one JSON document on stdout",
        )
