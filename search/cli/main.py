"""The command line: arguments in, one call, text or JSON out.

Only the standard library is imported here; each command imports what it needs.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from lstm_sweep.models.errors import InputError, NoRoomError, plain
from lstm_sweep.search.actions.connection import SERVER, TOKEN, Connection, check_address
from lstm_sweep.search.cli.parsers import (
    HelpAll,
    Parser,
    Version,
    add_delete,
    add_detect,
    add_generate,
    add_pause,
    add_prune,
    add_serve,
    add_token,
    whole,
)
from lstm_sweep.search.cli.terminal import (
    BAD_INPUT,
    DONE,
    FAILED,
    INTERRUPTED,
    escape_what_is_not_encoded,
)
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.values.spec import BUDGET, CHANGEABLE, ENGINES, NETWORKS, OPTIONS

if TYPE_CHECKING:
    from lstm_sweep.search.actions.remote import Actions


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


#: module of this folder with the function of each command, which is named like it
MODULES = {
    "launch": "launch",
    "resume": "launch",
    "pause": "sweeps",
    "serve": "serve",
    "stop": "sweeps",
    "delete": "sweeps",
    "prune": "sweeps",
    "sweeps": "sweeps",
    "status": "sweeps",
    "trials": "trials",
    "show": "trials",
    "report": "trials",
    "compare": "trials",
    "rerun": "models",
    "export": "models",
    "generate": "models",
    "detect": "models",
    "ui": "sweeps",
    "size": "trials",
    "token": "token",
}

TRIAL = "SWEEP/NUMBER, or (the beginning of) a run ID"
NAME_OR_TRIAL = f"a sweep, or a trial: {TRIAL}"
OWN_TEMPLATE = "your file, if the sweep was over a template (default: where you last named it)"
ENGINE_TEXTS = "; ".join(f"{name}: {where}" for name, where in ENGINES.items())
ON = ENGINE_TEXTS.replace(":", " (default):", 1)


#: what commands are added to
Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


def build_parser() -> Parser:
    """The parser of all commands."""
    parser = Parser(
        prog="lstm-sweep",
        description="Search for the best next-symbol LSTM that your data and hardware allow.",
        epilog=FIRST_STEPS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=Version)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in (
        _add_launch, _add_resume, _add_stop, _add_sweeps, _add_status, _add_trials, _add_show,
        _add_report, _add_compare, _add_rerun, _add_export, add_generate, add_detect, _add_ui,
        _add_size, add_token, add_pause, add_serve, add_delete, add_prune,
    ):  # fmt: skip
        add(commands)
    for name, command in commands.choices.items():
        add_options(name, command)
        command.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return parser


def _add_launch(commands: Commands) -> None:
    usage = "%(prog)s [SWEEP.yaml] [OPTION ...]"
    command = commands.add_parser("launch", help="run a sweep", usage=usage)
    command.add_argument("spec", nargs="?", metavar="SWEEP.yaml", help="a sweep written in a file")
    groups = _add_options(command, OPTIONS)
    _add_set(groups[NETWORKS])
    epochs = groups[NETWORKS].add_argument(
        "--epochs", type=whole, metavar="N", help="epochs of every trial"
    )
    command.rare |= {epochs, _add_address(groups[BUDGET])}
    command.add_argument(
        "--dry-run", action="store_true", help="only say what it would do, and what that takes"
    )
    _add_progress(command)
    command.add_argument("--help-all", action=HelpAll)


def _add_resume(commands: Commands) -> None:
    usage = "%(prog)s NAME [SWEEP.yaml] [OPTION ...]"
    command = commands.add_parser(
        "resume", help="go on with a sweep that was broken off", usage=usage
    )
    command.add_argument("sweep", metavar="NAME")
    command.add_argument(
        "spec", nargs="?", metavar="SWEEP.yaml", help="checked against what it was"
    )
    groups = _add_options(command, CHANGEABLE, keeps=True)
    command.rare.add(_add_address(groups[BUDGET]))
    command.add_argument("--template", metavar="FILE.py", help=OWN_TEMPLATE)
    _add_progress(command)
    command.add_argument("--help-all", action=HelpAll)


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


def _add_stop(commands: Commands) -> None:
    command = commands.add_parser("stop", help="end a sweep that runs elsewhere; resume goes on")
    command.add_argument("sweep", metavar="NAME")


def _add_sweeps(commands: Commands) -> None:
    command = commands.add_parser("sweeps", help="list sweeps, the newest first")
    command.add_argument("--limit", type=whole, default=20, metavar="N", help="at most N (20)")
    command.add_argument(
        "--all", action="store_const", const=None, dest="limit", help="also those before them"
    )


def _add_status(commands: Commands) -> None:
    command = commands.add_parser("status", help="the state of a sweep")
    command.add_argument("sweep", metavar="NAME")
    command.add_argument(
        "--follow", action="store_true", help="print each change, until it has ended"
    )


def _add_trials(commands: Commands) -> None:
    command = commands.add_parser("trials", help="list the trials of a sweep, the best first")
    command.add_argument("sweep", metavar="NAME")
    command.add_argument("--top", type=whole, metavar="N", help="only the best N")
    command.add_argument("--csv", action="store_true", help="rows of comma-separated values")


def _add_show(commands: Commands) -> None:
    command = commands.add_parser("show", help="a sweep with its result, or a trial by its rounds")
    command.add_argument("reference", metavar="NAME_OR_TRIAL", help=NAME_OR_TRIAL)


def _add_report(commands: Commands) -> None:
    command = commands.add_parser("report", help="a page on a sweep: its result, and why")
    command.add_argument("sweep", metavar="NAME")
    command.add_argument("--to", metavar="FILE", help="an HTML file (default: NAME-report.html)")


def _add_compare(commands: Commands) -> None:
    command = commands.add_parser("compare", help="two trials, or sweeps, side by side")
    for name in ("first", "other"):
        command.add_argument(name, metavar="NAME_OR_TRIAL", help=NAME_OR_TRIAL)


def _add_rerun(commands: Commands) -> None:
    command = commands.add_parser("rerun", help="train a trial again and compare")
    command.add_argument("trial", metavar="TRIAL", help=TRIAL)
    command.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", dest="settings"
    )
    command.add_argument("--template", metavar="FILE.py", help=OWN_TEMPLATE)
    command.add_argument("--on", default=next(iter(ENGINES)), metavar="ENGINE", help=ON)


def _add_export(commands: Commands) -> None:
    command = commands.add_parser("export", help="write a model as a folder that works on its own")
    command.add_argument("reference", metavar="NAME_OR_TRIAL", help="a sweep (its best) or a trial")
    command.add_argument("--to", required=True, metavar="DIR", help="a new folder")
    command.add_argument("--format", choices=("keras", "savedmodel", "onnx"), default="keras")
    command.add_argument("--register", metavar="MODEL", help="also make it a version of this model")
    command.add_argument(
        "--unchecked", action="store_true", help="also a template's network that cannot be checked"
    )


def _add_ui(commands: Commands) -> None:
    command = commands.add_parser("ui", help="browse the runs in the MLflow UI")
    command.add_argument("--host", default="127.0.0.1", metavar="H", help="address (127.0.0.1)")
    command.add_argument("--port", type=whole, metavar="P", help="its port (default: from 5000)")


def _add_size(commands: Commands) -> None:
    command = commands.add_parser("size", help="ask the size rule about networks")
    groups = _add_options(command, [name for name, one in OPTIONS.items() if one.sizes])
    _add_set(groups[NETWORKS])
    command.rare.clear()


def _add_progress(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--progress",
        choices=("auto", "table", "lines", "json", "off"),
        default="auto",
        help="auto (a table in a terminal, else lines), or JSON lines on standard error",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code."""
    parsed = argparse.Namespace(command=None)
    escape_what_is_not_encoded()
    try:
        parsed = build_parser().parse_args(arguments)
        given = [actions_of(parsed)] if parsed.command in COMMANDS else []
        module = importlib.import_module(f"lstm_sweep.search.cli.{MODULES[parsed.command]}")
        return int(getattr(module, parsed.command)(parsed, *given))
    except InputError as error:
        print(f"lstm-sweep: {without_secrets(str(error))}", file=sys.stderr)
        return BAD_INPUT
    except (StoreError, NoRoomError) as error:
        print(f"lstm-sweep: {plain(without_secrets(str(error)))}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt as interrupt:
        print("lstm-sweep: interrupted", file=sys.stderr)
        return int(getattr(interrupt, "code", INTERRUPTED))
    except BrokenPipeError:
        sys.stderr.close()
        return DONE
    except Exception as error:
        if parsed.command in ("launch", "resume"):
            print("lstm-sweep: `lstm-sweep sweeps` shows what can be resumed", file=sys.stderr)
        text = f"{traceback.format_exc()}lstm-sweep: unexpected {type(error).__name__}: {error}"
        print(without_secrets(text), file=sys.stderr)
        return FAILED


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
