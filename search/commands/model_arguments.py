"""The arguments of `generate`, `detect`, `delete` and `prune`."""

from __future__ import annotations

import argparse
from typing import TypeAlias

from lstm_sweep.search.arguments import Parser
from lstm_sweep.search.commands.option_types import age, number, switch, whole

#: what commands are added to
Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


def add_generate(commands: Commands) -> None:
    """Add `generate`."""
    command = commands.add_parser("generate", help="sequences that an exported model continues")
    command.add_argument("bundle", metavar="BUNDLE", help="a folder that export has written")
    command.add_argument("--prompt", default="", help="what comes before: a text, or event ids")
    command.add_argument(
        "--length", type=whole, default=400, metavar="N", help="symbols of each (400)"
    )
    command.add_argument(
        "--temperature", type=number, default=1.0, metavar="T", help="0: the likeliest (1)"
    )
    command.add_argument("--count", type=whole, default=1, metavar="N", help="sequences (1)")
    command.add_argument("--seed", type=whole, default=0, metavar="S", help="of the draws (0)")


def add_detect(commands: Commands) -> None:
    """Add `detect`."""
    command = commands.add_parser("detect", help="what an exported model does not expect in data")
    command.add_argument("bundle", metavar="BUNDLE", help="a folder that export has written")
    command.add_argument("--data", required=True, metavar="PATH_OR_SAMPLE", help="what to judge")
    command.add_argument(
        "--below",
        type=number,
        default=0.001,
        metavar="P",
        help="unexpected: unknown or less likely (0.001)",
    )
    command.add_argument(
        "--candidates",
        type=whole,
        metavar="G",
        help="unexpected: unknown or not among the G likeliest",
    )
    command.add_argument("--top", type=whole, default=10, metavar="N", help="list so many (10)")
    command.add_argument(
        "--ends",
        type=switch,
        default=True,
        metavar="on|off",
        help="judge the ends of sessions too; off: they may go on (on)",
    )


def add_delete(commands: Commands) -> None:
    """Add the command `delete`."""
    command = commands.add_parser("delete", help="delete a sweep, its runs and their files")
    command.add_argument("sweep", metavar="NAME")
    _add_yes(command)


def add_prune(commands: Commands) -> None:
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


def _add_yes(command: argparse.ArgumentParser) -> None:
    command.add_argument("--yes", action="store_true", help="do not ask")
