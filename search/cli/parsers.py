"""The commands and their arguments, and how these are read: one line for what is wrong with them.

Only what is light is imported here.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from lstm_sweep.models.errors import InputError, nearest, one_of, shown
from lstm_sweep.search.values import options as kinds
from lstm_sweep.search.values.spec import (
    BUDGET,
    CHANGEABLE,
    ENGINES,
    MOST_PLACES,
    NETWORKS,
    OPTIONS,
    SERVER,
)

#: options that are named together, and the highest port
FEW, PORTS = 6, 65_535
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

    def take(self, arguments: Iterable[Argument]) -> None:
        for one in arguments:
            groups = {group.title: group for group in self._action_groups}
            place = groups.get(one.group) or self.add_argument_group(one.group)
            how = {**one.how, "help": argparse.SUPPRESS} if one.rare else one.how
            (place if one.group else self).add_argument(*one.names, **how)
        # the help has groups of options before those that many commands have
        self._action_groups.sort(key=lambda group: group is self._optionals)

    def take_commands(self, dest: str, commands: Mapping[str, Command]) -> None:
        added = self.add_subparsers(dest=dest, metavar=dest.upper(), required=True)
        for name, one in commands.items():
            parser = added.add_parser(name, help=one.help, usage=one.usage)
            if one.actions:
                parser.take_commands("action", one.actions)
            parser.take(one.arguments)
            if dest == "command":
                in_service = () if name in AT_HOME else (SERVICE,)
                detached = (DETACH,) if name in SEARCHING else ()
                parser.take((*in_service, *detached, JSON))

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message.removeprefix('argument ')}; see {self.prog} --help")

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
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


def _file(text: str) -> Path:
    if not text:
        raise ValueError(text)
    return Path(text)


BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
SECONDS = {"h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}
sweep_file = _kind("the path of a YAML file", _file)
whole = _kind("a whole number", int)
number = _kind("a number", float)
size = _kind("a number and K, M, G or T, such as 500M", lambda text: int(_amount(text, BYTES, 15)))
age = _kind("a number and h, d or w, such as 30d", lambda text: _amount(text, SECONDS, 6))


@dataclass(frozen=True)
class Argument:
    """An argument of a command: how it is typed, and what argparse is told of it."""

    names: tuple[str, ...]
    how: Mapping[str, Any]
    #: part of the help that it stands in; empty: that of what many commands have
    group: str = ""
    rare: bool = False


class Command:
    """What a command is for, its arguments, and its own commands, one of which has to be given."""

    def __init__(
        self,
        help: str,
        *arguments: Argument,
        usage: str | None = None,
        actions: Mapping[str, Command] | None = None,
    ) -> None:
        self.help, self.arguments, self.usage, self.actions = help, arguments, usage, actions


def _takes(
    name: str,
    metavar: str,
    help: str | None,
    kind: Callable[[str], Any] = str,
    default: Any = None,
    **how: Any,
) -> Argument:
    more = {"metavar": metavar, "help": help, "type": kind, "default": default}
    return Argument((name,), more | how)


def _counts(name: str, metavar: str, help: str, most: int) -> Argument:
    """An option that takes a whole number from 1 to `most`."""
    return _takes(name, metavar, help, partial(kinds.number(1, most).read, name))


def _is_one_of(name: str, words: Sequence[str], help: str | None) -> Argument:
    """An option that takes one of some words; the first, if it is not given."""
    return Argument((name,), {"choices": words, "default": words[0], "help": help})


def _flag(name: str, help: str) -> Argument:
    return Argument((name,), {"action": "store_true", "help": help})


def _several(name: str, metavar: str, help: str | None, **how: Any) -> Argument:
    more: dict[str, Any] = {"action": "append", "default": [], "metavar": metavar, "help": help}
    return Argument((name,), more | how)


def _options(names: Iterable[str], *, keeps: bool = False, all: bool = False) -> list[Argument]:
    """Options of a sweep; a command that `keeps` what is not given has no defaults."""
    return [
        Argument(
            (one.flag,),
            {
                "type": one.read,
                "metavar": one.kind.metavar,
                "help": one.help if keeps else one.described,
            },
            one.group,
            rare=not (one.common or all),
        )
        for one in map(OPTIONS.__getitem__, names)
    ]


def _all_help(parser: Parser) -> str:
    helps = {one.names: one.how.get("help") for one in COMMANDS[parser.prog.split()[-1]].arguments}
    for action in parser._actions:
        action.help = helps.get(tuple(action.option_strings), action.help)
    return parser.format_help()


TRIAL = "SWEEP/NUMBER, or (the beginning of) a run ID"
NAME_OR_TRIAL = f"a sweep, or a trial: {TRIAL}"
ADDRESS = "with --on ray: HEAD:6379 of the cluster, or auto"
OWN_TEMPLATE = "your file, if the sweep was over a template (default: where you last named it)"
ON = "; ".join(f"{name}: {where}" for name, where in ENGINES.items()).replace(":", " (default):", 1)
#: roles and what they allow; those of `search/service/auth.py`
ROLES = {
    "read": "look at everything",
    "run": "also submit sweeps, upload, and change what is one's own",
    "admin": "also change what is others', and give priorities above 0",
}
SWEEP = Argument(("sweep",), {"metavar": "NAME"})
OF_ROLES = "; ".join(f"{role}: {what}" for role, what in ROLES.items())
BUNDLE = _takes("bundle", "BUNDLE", "a folder that export has written")
BUNDLE_OR_TRIAL = _takes(
    "bundle", "BUNDLE", "a folder that export has written; of a service: NAME_OR_TRIAL"
)
OPEN = Argument(
    ("--open",),
    {"action": "store_false", "dest": "ends", "help": "sessions still grow: judge no ends"},
)
TEMPLATE = _takes("--template", "FILE.py", OWN_TEMPLATE)
SET = replace(
    _several(
        "--set",
        "FIELD=VALUES",
        "replace a dimension: layer_size=32,64 or dropout=0..0.5 (repeatable)",
        dest="settings",
    ),
    group=NETWORKS,
)
EPOCHS = replace(_takes("--epochs", "N", "epochs of every trial", whole), group=NETWORKS, rare=True)
CLUSTER = replace(_takes("--address", "A", ADDRESS), group=BUDGET, rare=True)
PROGRESS = (
    _is_one_of(
        "--progress",
        ("auto", "table", "lines", "json", "off"),
        "auto (a table in a terminal, else lines), or JSON lines on standard error",
    ),
    Argument(("--help-all",), {"action": Says, "text": _all_help, "help": "show all options"}),
)
DETACH = _flag("--detach", "with --server: do not wait for the end")
SERVICE = _takes("--server", "URL", f"let a service do it (default: ${SERVER})")
JSON = _flag("--json", "one JSON document on stdout")
YES = _flag("--yes", "do not ask")
#: of an action of `token`; `--json` may stand before its name, too
OF_TOKENS = (
    _takes("--store", "URI", "that of `serve --store`"),
    replace(JSON, how={**JSON.how, "default": argparse.SUPPRESS}),
)

#: the commands whose functions stand in other modules than `sweeps`
MODULES = {
    "models": ("rerun", "export", "generate", "detect", "score", "classify"),
    "serve": ("serve", "token"),
}
#: those that run a sweep, and those that no service does for somebody else
SEARCHING = ("launch", "resume")
AT_HOME = ("generate", "score", "ui", "token", "serve")
COMMANDS = {
    "launch": Command(
        "run a sweep",
        _takes("spec", "SWEEP.yaml", "a sweep written in a file", sweep_file, nargs="?"),
        *_options(OPTIONS),
        *(SET, EPOCHS, CLUSTER),
        _flag("--dry-run", "only say what it would do, and what that takes"),
        *PROGRESS,
        usage="%(prog)s [SWEEP.yaml] [OPTION ...]",
    ),
    "resume": Command(
        "go on with a sweep that was broken off",
        SWEEP,
        _takes("spec", "SWEEP.yaml", "checked against what it was", sweep_file, nargs="?"),
        *_options(CHANGEABLE, keeps=True),
        *(CLUSTER, TEMPLATE),
        *PROGRESS,
        usage="%(prog)s NAME [SWEEP.yaml] [OPTION ...]",
    ),
    "stop": Command("end a sweep that runs elsewhere; resume goes on", SWEEP),
    "sweeps": Command(
        "list sweeps, the newest first",
        _takes("--limit", "N", "at most N (20)", whole, 20),
        Argument(
            ("--all",), {"action": "store_const", "dest": "limit", "help": "also those before them"}
        ),
    ),
    "status": Command(
        "the state of a sweep", SWEEP, _flag("--follow", "print each change, until it has ended")
    ),
    "trials": Command(
        "list the trials of a sweep, the best first",
        SWEEP,
        _takes("--top", "N", "only the best N", whole),
        _flag("--csv", "rows of comma-separated values"),
    ),
    "show": Command(
        "a sweep with its result, or a trial by its rounds",
        _takes("reference", "NAME_OR_TRIAL", NAME_OR_TRIAL),
    ),
    "report": Command(
        "a page on a sweep: its result, and why",
        SWEEP,
        _takes("--to", "FILE", "an HTML file (default: NAME-report.html)"),
        _takes("--data", "PATH", "sessions for its best trial to judge, as `detect` does"),
        _takes("--labels", "FILE", "which of them are abnormal: lines of a session and 0 or 1"),
    ),
    "compare": Command(
        "two trials, or sweeps, side by side",
        *(_takes(name, "NAME_OR_TRIAL", NAME_OR_TRIAL) for name in ("first", "other")),
    ),
    "rerun": Command(
        "train a trial again and compare",
        _takes("trial", "TRIAL", TRIAL),
        _several("--set", "FIELD=VALUE", None, dest="settings"),
        TEMPLATE,
        _takes("--on", "ENGINE", ON, default=next(iter(ENGINES))),
    ),
    "export": Command(
        "write a model as a folder that works on its own",
        _takes("reference", "NAME_OR_TRIAL", "a sweep (its best) or a trial"),
        _takes("--to", "DIR", "a new folder", required=True),
        _is_one_of("--format", ("keras", "savedmodel", "onnx"), None),
        _takes("--register", "MODEL", "also make it a version of this model"),
        _flag("--unchecked", "also a template's network that cannot be checked"),
    ),
    "generate": Command(
        "sequences that an exported model continues",
        BUNDLE,
        _takes("--prompt", "PROMPT", "what comes before: a text, or event ids", default=""),
        _takes("--length", "N", "symbols of each (400)", whole, 400),
        _takes("--temperature", "T", "0: the likeliest (1)", number, 1.0),
        _takes("--count", "N", "sequences (1)", whole, 1),
        _takes("--seed", "S", "of the draws (0)", whole, 0),
    ),
    "detect": Command(
        "what an exported model does not expect in data",
        BUNDLE_OR_TRIAL,
        _takes("--data", "PATH_OR_SAMPLE", "what to judge; -: standard input"),
        _takes("--follow", "FILE", "or: a log that grows, with alarms as they come; -: likewise"),
        _takes("--false-alarms", "R", "abnormal: this share of normal sessions (0.01)", number),
        _takes("--false-discoveries", "Q", "or: this share of the alarms is false", number),
        _takes("--calibrate", "PATH", "further normal sessions that it was not trained on"),
        _takes("--labels", "FILE", "sessions and whether they are abnormal: how good that is"),
        _takes("--below", "P", "unexpected: unknown or less likely (0.001)", number, 0.001),
        _takes("--candidates", "G", "unexpected: unknown or not among the G likeliest", whole),
        _takes("--top", "N", "list so many (10)", whole, 10),
        OPEN,
        _takes(
            "--idle", "S", "follow: a session ends after S seconds without a line (300)", number
        ),
        _takes("--open-sessions", "N", "follow: at most N open at once (50000)", whole),
        _takes("--state", "FILE", "follow: remember there what was read, to go on after a stop"),
        _takes("--metrics", "[ADDRESS:]PORT", "follow: figures for Prometheus (on 127.0.0.1)"),
    ),
    "score": Command(
        "how well an exported model predicts each session of data",
        BUNDLE,
        _takes("--data", "PATH_OR_SAMPLE", "what to score; -: standard input", required=True),
        OPEN,
    ),
    "classify": Command(
        "which classes an exported classifier says that sequences are of",
        BUNDLE_OR_TRIAL,
        _takes("--data", "PATH_OR_SAMPLE", "what to classify; -: standard input", required=True),
        _takes("--text", "COLUMN", "the column of a table that has the text"),
        _takes("--label", "COLUMN", "and that with the true class: how good it is"),
        _takes("--labels", "FILE", "sessions and their true classes: how good it is"),
        _takes("--error", "E", "sets of classes: this share of them lacks the true one", number),
        _takes("--class", "CLASS", "say which are of it, by a threshold of its probability"),
        _takes("--precision", "P", "that share of them is, on validation data", number),
        _takes("--recall", "R", "or: that share of the class is among them", number),
        _takes(
            "--decide", "BY", "by `probability`, or for the best `macro_f1`", default="probability"
        ),
    ),
    "ui": Command(
        "browse the runs in the MLflow UI",
        _takes("--host", "H", "address (127.0.0.1)", default="127.0.0.1"),
        _counts("--port", "P", "its port (default: from 5000)", PORTS),
    ),
    "size": Command(
        "ask the size rule about networks",
        *_options((name for name, one in OPTIONS.items() if one.sizes), all=True),
        SET,
    ),
    "token": Command(
        "tokens by which a service lets requests in",
        actions={
            "add": Command(
                "make a token, which is printed once and kept hashed",
                _takes("name", "NAME", "whose it is; changes are noted under it"),
                _takes("--role", "ROLE", OF_ROLES, required=True),
                *OF_TOKENS,
            ),
            "list": Command("list tokens, without themselves", *OF_TOKENS),
            "revoke": Command(
                "refuse a token from now on", _takes("name", "NAME", "whose it is"), *OF_TOKENS
            ),
        },
    ),
    "pause": Command("let a sweep wait; resume goes on", SWEEP),
    "serve": Command(
        "run sweeps that others submit over HTTP",
        _takes("--host", "H", "listen there (127.0.0.1)", default="127.0.0.1"),
        _counts("--port", "P", "its port (default: from 8000)", PORTS),
        _takes("--store", "URI", "tracking_uri in place of mlflow.yaml's"),
        _is_one_of(
            "--on",
            ("local", "ray"),
            "where trials run: here (local), or on the nodes of a Ray cluster (ray)",
        ),
        _takes("--address", "A", ADDRESS),
        _counts("--slots", "N", "trials at once, of all sweeps", MOST_PLACES),
        _counts("--per-user", "N", "slots of one user at most", MOST_PLACES),
        _several("--data-root", "DIR", "sweeps may use data below it, as server:PATH (repeatable)"),
        _flag("--allow-code", "accept templates, which run with your rights"),
        _flag("--no-mlflow", "start no MLflow server beside it"),
        _takes(
            "--mlflow-page",
            "URL",
            "where browsers find MLflow's pages, such as /mlflow behind a proxy",
        ),
        _several(
            "--proxy",
            "ADDRESS",
            "a proxy in front, which says who asks (repeatable; also a network, 10.0.0.0/29)",
        ),
        _takes(
            "--user-header", "NAME", "header in which the proxy names the user, such as Remote-User"
        ),
        _is_one_of(
            "--user-role",
            ("read", "run"),
            "role of users whom the proxy names and who have no token of their name (read)",
        ),
        _flag("--login", "demand a token also on 127.0.0.1"),
        _takes("--max-corpus", "SIZE", "largest file or folder that may be uploaded (10G)", size),
        _takes("--max-uploads", "SIZE", "of the disk that all uploads take (50G)", size),
        _takes("--keep-free", "SIZE", "of the disk that uploads and bundles leave free (1G)", size),
    ),
    "delete": Command("delete a sweep, its runs and their files", SWEEP, YES),
    "prune": Command(
        "delete sweeps that ended long ago",
        _takes("--older-than", "AGE", "such as 30d, 12h or 4w", age, required=True),
        _flag("--keep-best", "keep each sweep's run, baselines and best trial"),
        _flag("--dry-run", "only list what would be deleted"),
        YES,
    ),
}


def build_parser() -> Parser:
    parser = Parser(
        prog="lstm-sweep",
        description="Search for the best LSTM that your data and hardware allow.",
        epilog=FIRST_STEPS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=Says, text=_version, help="the version")
    parser.take_commands("command", COMMANDS)
    return parser


def _version(parser: argparse.ArgumentParser) -> str:
    from importlib.metadata import version

    return f"{parser.prog} {version(parser.prog)}\n"
