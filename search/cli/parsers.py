"""The commands and their arguments, and how these are read: one line for what is wrong with them.

Only what is light is imported here.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from lstm_sweep.models.errors import InputError, nearest, one_of, shown
from lstm_sweep.search.actions.connection import SERVER
from lstm_sweep.search.values.spec import BUDGET, CHANGEABLE, ENGINES, NETWORKS, OPTIONS

#: options that are named together
FEW = 6
FIRST_STEPS = """\
examples:
  lstm-sweep launch --data python-docs --space quick --trials 6
  lstm-sweep launch --data logs/ --symbols ids --set layer_size=64..256 --trials 40
  lstm-sweep launch --template my_template.py --trials 30
  lstm-sweep trials NAME --top 5
  lstm-sweep resume NAME
  lstm-sweep ui
  lstm-sweep export NAME --to best-model
  lstm-sweep generate best-model --temperature 0.7
  lstm-sweep rerun NAME/3
"""


class Says(argparse.Action):
    """An option that prints a text, which is made only then, and ends the program."""

    def __init__(self, option_strings: Sequence[str], dest: str, *, help: str, text: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)
        self._text = text

    def __call__(self, parser: argparse.ArgumentParser, *given: Any, **more: Any) -> NoReturn:
        print(self._text(parser), end="")
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


def _kind(expected: str, parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """What an option takes: `parse` makes a value of it, or raises `ValueError` or `KeyError`."""

    def read(text: str) -> Any:
        try:
            return parse(text)
        except (ValueError, KeyError):
            refused = f"is {shown(text)}: expected {expected}"
            raise argparse.ArgumentTypeError(refused) from None

    return read


def _amount(text: str, units: Mapping[str, float], digits: int) -> float:
    found = re.fullmatch(rf"(\d{{1,{digits}}}(?:\.\d{{1,3}})?)(\w?)", text, re.ASCII)
    if not found:
        raise ValueError(text)
    return float(found[1]) * units[found[2]]


BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
SECONDS = {"h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}
whole = _kind("a whole number", int)
number = _kind("a number", float)
switch = _kind("on or off", {"on": True, "off": False}.__getitem__)
size = _kind("a number and K, M, G or T, such as 500M", lambda text: int(_amount(text, BYTES, 15)))
age = _kind("a number and h, d or w, such as 30d", lambda text: _amount(text, SECONDS, 6))

TRIAL = "SWEEP/NUMBER, or (the beginning of) a run ID"
NAME_OR_TRIAL = f"a sweep, or a trial: {TRIAL}"
OWN_TEMPLATE = "your file, if the sweep was over a template (default: where you last named it)"
ON = "; ".join(f"{name}: {where}" for name, where in ENGINES.items()).replace(":", " (default):", 1)


def _launch(command: Parser) -> None:
    add = command.add_argument
    command.usage = "%(prog)s [SWEEP.yaml] [OPTION ...]"
    add("spec", nargs="?", metavar="SWEEP.yaml", help="a sweep written in a file")
    groups = _add_options(command, OPTIONS)
    _add_set(groups[NETWORKS])
    epochs = groups[NETWORKS].add_argument(
        "--epochs", type=whole, metavar="N", help="epochs of every trial"
    )
    command.rare |= {epochs, _add_address(groups[BUDGET])}
    add("--dry-run", action="store_true", help="only say what it would do, and what that takes")
    _add_progress(command)


def _resume(command: Parser) -> None:
    add = command.add_argument
    command.usage = "%(prog)s NAME [SWEEP.yaml] [OPTION ...]"
    _sweep(command)
    add("spec", nargs="?", metavar="SWEEP.yaml", help="checked against what it was")
    groups = _add_options(command, CHANGEABLE, keeps=True)
    command.rare.add(_add_address(groups[BUDGET]))
    add("--template", metavar="FILE.py", help=OWN_TEMPLATE)
    _add_progress(command)


def _add_options(
    command: Parser, names: Iterable[str], *, keeps: bool = False
) -> dict[str, argparse._ArgumentGroup]:
    """Add options of a sweep in groups; a command that `keeps` what is not given has no defaults.

    Those that few need are only shown by `--help-all`.
    """
    groups = dict[str, argparse._ArgumentGroup]()
    for one in (OPTIONS[name] for name in names):
        if one.group not in groups:
            groups[one.group] = command.add_argument_group(one.group)
        added = groups[one.group].add_argument(
            one.flag,
            type=one.read,
            metavar=one.kind.metavar,
            help=one.help if keeps else one.described,
        )
        if not one.common:
            command.rare.add(added)
    return groups


def _add_set(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUES",
        dest="settings",
        help="replace a dimension: layer_size=32,64 or dropout=0..0.5 (repeatable)",
    )


def _add_address(group: argparse._ActionsContainer) -> argparse.Action:
    text = "with --on ray: HEAD:6379 of the cluster, or auto"
    return group.add_argument("--address", metavar="A", help=text)


def _add_progress(command: Parser) -> None:
    add = command.add_argument
    add(
        "--progress",
        choices=("auto", "table", "lines", "json", "off"),
        default="auto",
        help="auto (a table in a terminal, else lines), or JSON lines on standard error",
    )

    def all_help(parser: Parser) -> str:
        parser.rare = set()
        return parser.format_help()

    add("--help-all", action=Says, text=all_help, help="show all options")


def _sweep(command: Parser) -> None:
    command.add_argument("sweep", metavar="NAME")


def _sweeps(command: Parser) -> None:
    add = command.add_argument
    add("--limit", type=whole, default=20, metavar="N", help="at most N (20)")
    add("--all", action="store_const", const=None, dest="limit", help="also those before them")


def _status(command: Parser) -> None:
    _sweep(command)
    command.add_argument(
        "--follow", action="store_true", help="print each change, until it has ended"
    )


def _trials(command: Parser) -> None:
    add = command.add_argument
    _sweep(command)
    add("--top", type=whole, metavar="N", help="only the best N")
    add("--csv", action="store_true", help="rows of comma-separated values")


def _show(command: Parser) -> None:
    command.add_argument("reference", metavar="NAME_OR_TRIAL", help=NAME_OR_TRIAL)


def _report(command: Parser) -> None:
    _sweep(command)
    command.add_argument("--to", metavar="FILE", help="an HTML file (default: NAME-report.html)")


def _compare(command: Parser) -> None:
    for name in ("first", "other"):
        command.add_argument(name, metavar="NAME_OR_TRIAL", help=NAME_OR_TRIAL)


def _rerun(command: Parser) -> None:
    add = command.add_argument
    add("trial", metavar="TRIAL", help=TRIAL)
    add("--set", action="append", default=[], metavar="FIELD=VALUE", dest="settings")
    add("--template", metavar="FILE.py", help=OWN_TEMPLATE)
    add("--on", default=next(iter(ENGINES)), metavar="ENGINE", help=ON)


def _export(command: Parser) -> None:
    add = command.add_argument
    add("reference", metavar="NAME_OR_TRIAL", help="a sweep (its best) or a trial")
    add("--to", required=True, metavar="DIR", help="a new folder")
    add("--format", choices=("keras", "savedmodel", "onnx"), default="keras")
    add("--register", metavar="MODEL", help="also make it a version of this model")
    add("--unchecked", action="store_true", help="also a template's network that cannot be checked")


def _generate(command: Parser) -> None:
    add = command.add_argument
    add("bundle", metavar="BUNDLE", help="a folder that export has written")
    add("--prompt", default="", help="what comes before: a text, or event ids")
    add("--length", type=whole, default=400, metavar="N", help="symbols of each (400)")
    add("--temperature", type=number, default=1.0, metavar="T", help="0: the likeliest (1)")
    add("--count", type=whole, default=1, metavar="N", help="sequences (1)")
    add("--seed", type=whole, default=0, metavar="S", help="of the draws (0)")


def _detect(command: Parser) -> None:
    add = command.add_argument
    add("bundle", metavar="BUNDLE", help="a folder that export has written")
    add("--data", required=True, metavar="PATH_OR_SAMPLE", help="what to judge")
    add(
        "--below",
        type=number,
        default=0.001,
        metavar="P",
        help="unexpected: unknown or less likely (0.001)",
    )
    add(
        "--candidates",
        type=whole,
        metavar="G",
        help="unexpected: unknown or not among the G likeliest",
    )
    add("--top", type=whole, default=10, metavar="N", help="list so many (10)")
    add(
        "--ends",
        type=switch,
        default=True,
        metavar="on|off",
        help="judge the ends of sessions too; off: they may go on (on)",
    )


def _ui(command: Parser) -> None:
    add = command.add_argument
    add("--host", default="127.0.0.1", metavar="H", help="address (127.0.0.1)")
    add("--port", type=whole, metavar="P", help="its port (default: from 5000)")


def _size(command: Parser) -> None:
    groups = _add_options(command, [name for name, one in OPTIONS.items() if one.sizes])
    _add_set(groups[NETWORKS])
    command.set_defaults(spec=None, epochs=None)
    command.rare.clear()


#: options that limit what others may send, their defaults, and what they say
LIMITS = (
    ("max-corpus", "10G", "largest file or folder that may be uploaded"),
    ("max-uploads", "50G", "of the disk that all uploads take"),
    ("keep-free", "1G", "of the disk that uploads and bundles leave free"),
)


def _serve(command: Parser) -> None:
    add = command.add_argument
    add("--host", default="127.0.0.1", metavar="H", help="listen there (127.0.0.1)")
    add("--port", type=whole, metavar="P", help="its port (default: from 8000)")
    add("--store", metavar="URI", help="tracking_uri in place of mlflow.yaml's")
    add(
        "--on",
        choices=("local", "ray"),
        default="local",
        help="where trials run: here (local), or on the nodes of a Ray cluster (ray)",
    )
    add("--address", metavar="A", help="with --on ray: HEAD:6379 of the cluster, or auto")
    add("--slots", type=whole, metavar="N", help="trials at once, of all sweeps")
    add("--per-user", type=whole, metavar="N", help="slots of one user at most")
    add(
        "--data-root",
        action="append",
        default=[],
        metavar="DIR",
        help="sweeps may use data below it, as server:PATH (repeatable)",
    )
    add("--allow-code", action="store_true", help="accept templates, which run with your rights")
    add("--no-mlflow", action="store_true", help="start no MLflow server beside it")
    add(
        "--mlflow-page",
        metavar="URL",
        help="where browsers find MLflow's pages, such as /mlflow behind a proxy",
    )
    add(
        "--proxy",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="a proxy in front, which says who asks (repeatable; also a network, 10.0.0.0/29)",
    )
    add(
        "--user-header",
        metavar="NAME",
        help="header in which the proxy names the user, such as Remote-User",
    )
    add(
        "--user-role",
        choices=("read", "run"),
        default="read",
        help="role of users whom the proxy names and who have no token of their name (read)",
    )
    add("--login", action="store_true", help="demand a token also on 127.0.0.1")
    for name, default, text in LIMITS:
        add(f"--{name}", type=size, metavar="SIZE", help=f"{text} ({default})")


#: roles and what they allow; those of `search/service/auth.py`
ROLES = {
    "read": "look at everything",
    "run": "also submit sweeps, upload, and change what is one's own",
    "admin": "also change what is others', and give priorities above 0",
}


def _token(command: Parser) -> None:
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


def _delete(command: Parser) -> None:
    _sweep(command)
    command.add_argument("--yes", action="store_true", help="do not ask")


def _prune(command: Parser) -> None:
    add = command.add_argument
    add("--older-than", type=age, required=True, metavar="AGE", help="such as 30d, 12h or 4w")
    add("--keep-best", action="store_true", help="keep each sweep's run, baselines and best trial")
    add("--dry-run", action="store_true", help="only list what would be deleted")
    add("--yes", action="store_true", help="do not ask")


class Command(NamedTuple):
    """A command; the function that runs it is named like it."""

    help: str
    #: where that function is, in this folder
    module: str
    #: adds its arguments
    add: Callable[[Parser], None]
    #: whether a service can run it, too
    by_service: bool = True


COMMANDS = {
    "launch": Command("run a sweep", "launch", _launch),
    "resume": Command("go on with a sweep that was broken off", "launch", _resume),
    "stop": Command("end a sweep that runs elsewhere; resume goes on", "sweeps", _sweep),
    "sweeps": Command("list sweeps, the newest first", "sweeps", _sweeps),
    "status": Command("the state of a sweep", "sweeps", _status),
    "trials": Command("list the trials of a sweep, the best first", "trials", _trials),
    "show": Command("a sweep with its result, or a trial by its rounds", "trials", _show),
    "report": Command("a page on a sweep: its result, and why", "trials", _report),
    "compare": Command("two trials, or sweeps, side by side", "trials", _compare),
    "rerun": Command("train a trial again and compare", "models", _rerun),
    "export": Command("write a model as a folder that works on its own", "models", _export),
    "generate": Command(
        "sequences that an exported model continues", "models", _generate, by_service=False
    ),
    "detect": Command(
        "what an exported model does not expect in data", "models", _detect, by_service=False
    ),
    "ui": Command("browse the runs in the MLflow UI", "sweeps", _ui, by_service=False),
    "size": Command("ask the size rule about networks", "trials", _size),
    "token": Command(
        "tokens by which a service lets requests in", "token", _token, by_service=False
    ),
    "pause": Command("let a sweep wait; resume goes on", "sweeps", _sweep),
    "serve": Command("run sweeps that others submit over HTTP", "serve", _serve, by_service=False),
    "delete": Command("delete a sweep, its runs and their files", "sweeps", _delete),
    "prune": Command("delete sweeps that ended long ago", "sweeps", _prune),
}


def build_parser() -> Parser:
    """The parser of all commands."""
    parser = Parser(
        prog="lstm-sweep",
        description="Search for the best next-symbol LSTM that your data and hardware allow.",
        epilog=FIRST_STEPS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=Says, text=_version, help="the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, one in COMMANDS.items():
        command = commands.add_parser(name, help=one.help)
        one.add(command)
        if one.by_service:
            command.add_argument(
                "--server", metavar="URL", help=f"let a service do it (default: ${SERVER})"
            )
        if one.module == "launch":
            command.add_argument(
                "--detach", action="store_true", help="with --server: do not wait for the end"
            )
        command.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return parser


def _version(parser: argparse.ArgumentParser) -> str:
    from importlib.metadata import version

    return f"{parser.prog} {version(parser.prog)}\n"
