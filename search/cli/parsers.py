"""How arguments are read: one line for what is wrong with them.

Only the standard library is imported here.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn, TypeAlias

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


#: bytes of the units of sizes
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
#: seconds of the units of ages
AGES = {"h": 3600.0, "d": 24 * 3600.0, "w": 7 * 24 * 3600.0}


def whole(text: str) -> int:
    """Parse a whole number."""
    try:
        return int(text)
    except ValueError:
        raise _refused(text, "a whole number") from None


def number(text: str) -> float:
    """Parse a number."""
    try:
        return float(text)
    except ValueError:
        raise _refused(text, "a number") from None


def switch(text: str) -> bool:
    """Parse `on` or `off`."""
    if text not in ("on", "off"):
        raise _refused(text, "on or off")
    return text == "on"


def _refused(text: str, expected: str) -> argparse.ArgumentTypeError:
    """What is said of a value, behind the option that it was given to."""
    return argparse.ArgumentTypeError(f"is {shown(text)}: expected {expected}")


def size(text: str) -> int:
    """Bytes, as a number with a unit: `500M`, `1.5G`."""
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,3})?)([KMGT]?)", text, re.ASCII)
    if not found:
        raise _refused(text, "a number and K, M, G or T, such as 500M")
    return int(float(found[1]) * UNITS[found[2]])


def check_one_format(arguments: argparse.Namespace) -> None:
    """Refuse `--csv` beside `--json`.

    Raises:
        InputError: both are given.
    """
    if getattr(arguments, "csv", False) and arguments.json:
        raise InputError("--csv is given with --json: expected one of them")


def age(text: str) -> float:
    """Seconds, as a number with a unit: `12h`, `30d`, `4w`."""
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([hdw])", text, re.ASCII)
    if not found:
        raise _refused(text, "a number and h, d or w, such as 30d")
    return float(found[1]) * AGES[found[2]]


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


#: options that limit what others may send, their defaults, and what they say
LIMITS = (
    ("max-corpus", "10G", "largest file or folder that may be uploaded"),
    ("max-uploads", "50G", "of the disk that all uploads take"),
    ("keep-free", "1G", "of the disk that uploads and bundles leave free"),
)


def add_pause(commands: Any) -> None:
    """Add the command `pause`."""
    command = commands.add_parser("pause", help="let a sweep wait; resume goes on")
    command.add_argument("sweep", metavar="NAME")


def add_serve(commands: Any) -> None:
    """Add the command `serve`."""
    command: argparse.ArgumentParser = commands.add_parser(
        "serve", help="run sweeps that others submit over HTTP"
    )
    command.add_argument(
        "--host", default="127.0.0.1", metavar="H", help="listen there (127.0.0.1)"
    )
    command.add_argument("--port", type=whole, metavar="P", help="its port (default: from 8000)")
    command.add_argument("--store", metavar="URI", help="tracking_uri in place of mlflow.yaml's")
    command.add_argument(
        "--on",
        choices=("local", "ray"),
        default="local",
        help="where trials run: here (local), or on the nodes of a Ray cluster (ray)",
    )
    command.add_argument(
        "--address", metavar="A", help="with --on ray: HEAD:6379 of the cluster, or auto"
    )
    command.add_argument("--slots", type=whole, metavar="N", help="trials at once, of all sweeps")
    command.add_argument("--per-user", type=whole, metavar="N", help="slots of one user at most")
    command.add_argument(
        "--data-root",
        action="append",
        default=[],
        metavar="DIR",
        help="sweeps may use data below it, as server:PATH (repeatable)",
    )
    command.add_argument(
        "--allow-code", action="store_true", help="accept templates, which run with your rights"
    )
    command.add_argument(
        "--no-mlflow", action="store_true", help="start no MLflow server beside it"
    )
    command.add_argument(
        "--mlflow-page",
        metavar="URL",
        help="where browsers find MLflow's pages, such as /mlflow behind a proxy",
    )
    command.add_argument(
        "--proxy",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="a proxy in front, which says who asks (repeatable; also a network, 10.0.0.0/29)",
    )
    command.add_argument(
        "--user-header",
        metavar="NAME",
        help="header in which the proxy names the user, such as Remote-User",
    )
    command.add_argument(
        "--user-role",
        choices=("read", "run"),
        default="read",
        help="role of users whom the proxy names and who have no token of their name (read)",
    )
    command.add_argument("--login", action="store_true", help="demand a token also on 127.0.0.1")
    for name, default, text in LIMITS:
        command.add_argument(f"--{name}", type=size, metavar="SIZE", help=f"{text} ({default})")


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
