"""How arguments are read: one line for what is wrong with them.

Only the standard library is imported here.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from lstm_sweep.models.errors import InputError, nearest, one_of, shown

#: options that are named together
FEW = 6


class Version(argparse.Action):
    """Prints the version of this program, which is looked up only then, and ends."""

    def __init__(self, option_strings: Sequence[str], dest: str, **more: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help="the version")

    def __call__(self, parser: argparse.ArgumentParser, *given: Any, **more: Any) -> NoReturn:
        """Print the version and leave."""
        from importlib.metadata import version

        print(f"{parser.prog} {version(parser.prog)}")
        raise SystemExit(0)


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with the arguments, as the commands do."""

    def error(self, message: str) -> NoReturn:
        """Raise the message of argparse as an `InputError`."""
        raise InputError(f"{message.removeprefix('argument ')}; see {self.prog} --help")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(action, f"found {_choice(value, action.choices)}")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse arguments, of which each has to be known."""
        given = sys.argv[1:] if args is None else list(args)
        self._check_first(given)
        parsed, unknown = super().parse_known_args(given, namespace)
        if unknown:
            options = re.findall(r"\[(-[a-z-]+)", self.format_usage())
            self.error(f"found {_option(unknown[0], options)}")
        return parsed, unknown

    def _check_first(self, given: Sequence[str]) -> None:
        """Refuse an option that stands before the command whose it is."""
        name = given[0].partition("=")[0] if given else ""
        if " " in self.prog or not name.startswith("--"):
            return
        if not any(one.startswith(name) for one in self._option_string_actions):
            self.error(
                f"found {shown(name)} before the command: expected it behind, as in "
                f"`{self.prog} sweeps --server URL`"
            )


def _choice(found: str, known: Iterable[str]) -> str:
    return f"{shown(found)}, {nearest(found, known) or one_of(found, known)}"


def _option(found: str, known: Sequence[str]) -> str:
    """An option that is unknown, and a similar one, or all if they are few."""
    near = nearest(found, known) or (one_of(found, known) if len(known) <= FEW else "")
    return f"{shown(found)}, {near}" if near else f"{shown(found)}, which it does not take"
