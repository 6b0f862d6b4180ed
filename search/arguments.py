"""How arguments are read: one line for what is wrong with them.

Only the standard library is imported here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
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


class HelpAll(argparse.Action):
    """Prints the help with all options, and ends."""

    def __init__(self, option_strings: Sequence[str], dest: str, **more: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help="show all options")

    def __call__(self, parser: argparse.ArgumentParser, *given: Any, **more: Any) -> NoReturn:
        """Print the help and leave."""
        assert isinstance(parser, Parser)
        parser.rare = set()
        parser.print_help()
        raise SystemExit(0)


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with the arguments, as the commands do."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        #: options that only `--help-all` shows
        self.rare = set[argparse.Action]()

    def error(self, message: str) -> NoReturn:
        """Raise the message of argparse as an `InputError`."""
        raise InputError(f"{message.removeprefix('argument ')}; see {self.prog} --help")

    def format_help(self) -> str:
        """The help, with groups of options before those that many commands have."""
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        formatter.add_text(self.description)
        positionals, options, *groups = self._action_groups
        for group in (positionals, *groups, options):
            formatter.start_section(group.title)
            formatter.add_arguments(one for one in group._group_actions if one not in self.rare)
            formatter.end_section()
        formatter.add_text(self.epilog)
        return formatter.format_help()

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """The value of an argument; a refusal begins with the argument."""
        try:
            make: Any = self._registry_get("type", action.type, action.type)
            return make(arg_string)
        except argparse.ArgumentTypeError as error:
            raise InputError(f"{_name(action)} {error}") from None

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = [*action.choices]
            expected = nearest(value, known) or f"expected one of {', '.join(known)}"
            raise InputError(f"{_name(action)} is {shown(value)}: {expected}")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse arguments, of which each has to be known."""
        given = sys.argv[1:] if args is None else list(args)
        self._check_first(given)
        parsed, unknown = super().parse_known_args(given, namespace)
        if unknown:
            options = [one.option_strings[0] for one in self._actions if one.option_strings]
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


def _name(action: argparse.Action) -> str:
    """An argument as it is typed, or as the help names it."""
    return action.option_strings[-1] if action.option_strings else str(action.metavar)


def _option(found: str, known: Sequence[str]) -> str:
    """An option that is unknown, and a similar one, or all if they are few."""
    near = nearest(found, known) or (one_of(found, known) if len(known) <= FEW else "")
    return f"{shown(found)}, {near}" if near else f"{shown(found)}, which it does not take"
