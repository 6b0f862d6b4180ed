"""How arguments are read: one line for what is wrong with them.

Only the standard library is imported here.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from lstm_sweep.models.errors import InputError, one_of, shown


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
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            options = re.findall(r"\[(-[a-z-]+)", self.format_usage())
            self.error(f"found {_choice(unknown[0], options)}")
        return parsed, unknown


def _choice(found: str, known: Iterable[str]) -> str:
    return f"{shown(found)}, {one_of(found, known)}"
