"""Commands that a service runs: the same words, from a machine that has nothing but Python.

Only the standard library is imported. Tables and lines come from the service, which prints them
for the terminal that is here.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import Any, TypeAlias

from lstm_sweep.models.data.samples import SAMPLES
from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.client.connection import (
    SERVER,
    TOKEN,
    Answer,
    Connection,
    check_address,
)
from lstm_sweep.search.client.listening import events
from lstm_sweep.search.client.sending import send_data
from lstm_sweep.search.commands.exits import DONE, FAILED, INTERRUPTED
from lstm_sweep.search.texts.terminal import plain, print_json, print_left_out

TEXT = "text/plain"
#: how a request names the terminal that is here, and an answer what is left out
TERMINAL, LEFT_OUT = "Lstm-Sweep-Terminal", "Lstm-Sweep-Left-Out"
#: columns for whoever is no terminal
COLUMNS = 140
#: what names data that a service has
THERE = ("server:", "corpus:")
#: options of `launch` that are fields of a submission
OPTIONS = (
    "learning_rate_field", "symbols", "name", "trials", "minutes", "workers", "per_gpu", "on",
    "space", "algo", "ladder", "halving", "prior", "early_stopping", "patience",
    "confirm_configs", "confirm_seeds", "max_failures", "seed", "size_rule", "targets",
    "rounds_per_epoch", "keep",
)  # fmt: skip
CHANGES = ("trials", "minutes", "workers", "per_gpu", "on", "max_failures", "keep")
#: state of a sweep that waits for slots
QUEUED = "queued"
Command: TypeAlias = Callable[[Namespace, Connection], int]
#: fields of the JSON of `stop` and `pause`
STOPPED = ("sweep", "run_id", "state")


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


def address_of(arguments: Namespace) -> str:
    """The service that `--server` or the variable names; empty if a command runs here."""
    if not hasattr(arguments, "server"):
        return ""
    given: str | None = arguments.server
    if given is not None:
        return check_address(given, "--server")
    if found := os.environ.get(SERVER, ""):
        return check_address(found, SERVER)
    if getattr(arguments, "detach", False):
        raise InputError("--detach is given without a service: expected --server URL with it")
    return ""


def run(arguments: Namespace, address: str) -> int:
    """Run a command by a service; return the exit code."""
    terminal = {TERMINAL: _terminal()}
    service = Connection(address, os.environ.get(TOKEN, ""), say=_say, headers=terminal)
    return COMMANDS[arguments.command](arguments, service)


def _say(line: str) -> None:
    print(f"lstm-sweep: {plain(line)}", file=sys.stderr, flush=True)


def _terminal() -> str:
    """The terminal that is here, as the service is told of it."""
    kind = os.environ.get("TERM", "")
    if not sys.stdout.isatty():
        return f"columns={COLUMNS}; color=none"
    columns = shutil.get_terminal_size((80, 25)).columns
    if kind in ("", "dumb", "unknown") or os.environ.get("NO_COLOR"):
        return f"columns={columns}; color=none"
    truecolor = os.environ.get("COLORTERM", "") in ("truecolor", "24bit")
    color = "truecolor" if truecolor else "256" if kind.endswith("256color") else "standard"
    return f"columns={columns}; color={color}"


def _print_text(answer: Answer) -> None:
    """Print what a command prints, and what it says is left out."""
    import json

    left_out = {name.lower(): value for name, value in answer.headers.items()}.get(LEFT_OUT.lower())
    print_left_out(json.loads(left_out) if left_out else ())
    sys.stdout.write(answer.content.decode("utf-8", "replace"))
    sys.stdout.flush()


def _listed(
    path: tuple[str, ...], rows: str, **query: Any
) -> Callable[[Namespace, Connection], int]:
    """A command that lists something; `rows` is where its JSON stands in the answer."""

    def command(arguments: Namespace, service: Connection) -> int:
        parts = [part.format(**vars(arguments)) for part in path]
        given = {name: getattr(arguments, option) for name, option in query.items()}
        if arguments.json:
            found = service.get(*parts, **given).document()
            print_left_out(found["left_out"])
            print_json(found[rows])
        else:
            _print_text(service.get(*parts, accept=TEXT, **given))
        return DONE

    return command


def status(arguments: Namespace, service: Connection) -> int:
    """Print the state of a sweep; with `--follow`, at each change, until it has ended."""
    path, before = ("sweeps", arguments.sweep), b""
    if arguments.follow:
        for event in events(service, arguments.sweep, since="now"):
            if event.name not in ("status", "end") or arguments.json:
                continue
            answer = service.get(*path, accept=TEXT)
            if answer.content != before:
                _print_text(answer)
            before = answer.content
    if arguments.json:
        found = service.get(*path).document()
        found.pop("owner")
        print_json(found)
    elif not arguments.follow:
        _print_text(service.get(*path, accept=TEXT))
    return DONE


def show(arguments: Namespace, service: Connection) -> int:
    """Show one trial, round by round."""
    path = path_of_trial(arguments.trial)
    if arguments.json:
        print_json(service.get(*path).document())
    else:
        _print_text(service.get(*path, accept=TEXT))
    return DONE


def path_of_trial(reference: str) -> tuple[str, ...]:
    """Where the service has a trial: by its sweep and number, or by its run."""
    sweep, slash, number = reference.rpartition("/")
    if not slash:
        if not reference:
            raise InputError(f"trial is {shown(reference)}: expected SWEEP/NUMBER, or a run ID")
        return ("runs", reference)
    if not sweep or not number.isdecimal():
        raise InputError(f"trial is {shown(reference)}: expected SWEEP/NUMBER, or a run ID")
    return ("sweeps", sweep, "trials", number)


def _end(arguments: Namespace, service: Connection) -> int:
    """`stop` and `pause`."""
    path = ("sweeps", arguments.sweep, arguments.command)
    if arguments.json:
        found = service.send("POST", *path).document()
        print_left_out(found.get("left_out", ()))
        print_json({name: found[name] for name in STOPPED})
    else:
        _print_text(service.send("POST", *path, accept=TEXT))
    return DONE


def launch(arguments: Namespace, service: Connection) -> int:
    """Send a sweep to a service, and follow it to its end."""
    _refuse(arguments, ("spec", "template", "address", "dry_run"))
    if arguments.data is None:
        raise InputError("--data is missing: expected a text file, a folder of files, or a sample")
    body = _given(arguments, OPTIONS)
    more = [f"epochs={arguments.epochs}"] if arguments.epochs is not None else []
    if settings := [*arguments.settings, *more]:
        body["set"] = settings
    key = secrets.token_hex(16)
    is_there = arguments.data in SAMPLES or arguments.data.startswith(THERE)
    body["data"] = arguments.data if is_there else send_data(service, arguments.data, _say)
    made = service.send("POST", "sweeps", document=body, key=key).document()
    return _go_on(arguments, service, made)


def resume(arguments: Namespace, service: Connection) -> int:
    """Let a service go on with a sweep, and follow it to its end."""
    _refuse(arguments, ("spec", "template", "address"))
    body = _given(arguments, CHANGES)
    path = ("sweeps", arguments.sweep, "resume")
    return _go_on(arguments, service, service.send("POST", *path, document=body).document())


def _given(arguments: Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    found = {name: getattr(arguments, name, None) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _refuse(arguments: Namespace, names: tuple[str, ...]) -> None:
    """Refuse options that a service does not take."""
    for name in names:
        if getattr(arguments, name, None) not in (None, False):
            option = "SWEEP.yaml" if name == "spec" else f"--{name.replace('_', '-')}"
            raise InputError(f"{option} is given with a service: expected a command without it")


def _go_on(arguments: Namespace, service: Connection, made: dict[str, Any]) -> int:
    """Follow a sweep that the service has, unless nobody wants to, and print its result."""
    name = made["sweep"]
    if arguments.detach:
        if arguments.json:
            made.pop("owner")
            print_json(made)
        else:
            print(f"sweep {name}: {made['state']}; lstm-sweep status {name} --follow follows it")
        return DONE
    output = sys.stderr if arguments.json else sys.stdout
    try:
        lines = (lambda line: None) if arguments.progress == "off" else _printer(output)
        follow(service, name, lines)
    except KeyboardInterrupt:
        _say(
            f"sweep {name} goes on: `lstm-sweep status {name} --follow` follows it, "
            f"`lstm-sweep stop {name}` ends it"
        )
        return INTERRUPTED
    path = ("sweeps", name, "result")
    result = service.get(*path).document()
    why = result.pop("why")
    if arguments.json:
        print_json(result)
    else:
        _print_text(service.get(*path, accept=TEXT))
    if result["state"] == "failed":
        _say(f"{why}; `lstm-sweep resume {name}` goes on once that is mended")
        return FAILED
    if result["state"] == "finished" and result["best"] is None:
        hint = f"`lstm-sweep trials {name}` lists how they have ended, and `show` says why"
        _say(f"no trial of '{name}' has a result; {hint}")
        return FAILED
    return INTERRUPTED if result["state"] == "interrupted" else DONE


def _printer(output: Any) -> Callable[[str], None]:
    return lambda line: print(plain(line), file=output, flush=True)


def follow(service: Connection, name: str, say: Callable[[str], None]) -> None:
    """Say a line for each trial that ends, until the sweep has ended."""
    done, best, waits = 0, None, ""
    for event in events(service, name):
        data = event.data
        if event.name == "status" and data["state"] == QUEUED and data["why"] != waits:
            waits = data["why"]
            say(f"sweep {name}: {QUEUED}{f' ({waits})' if waits else ''}")
        if event.name != "trial" or data["state"] != "ended":
            continue
        done, loss = done + 1, data["val_loss"]
        if loss is not None and (best is None or loss < best[1]):
            best = (data["trial"], loss)
        phase = "" if data["phase"] == "search" else f" ({data['phase']})"
        so_far = f"best {best[0]} {best[1]:.4f}" if best else "no result yet"
        told = "-" if loss is None else f"{loss:.4f}"
        say(f"[{done}] {data['trial']}{phase} {data['outcome']} loss {told}; {so_far}")


#: what runs each command
COMMANDS: dict[str, Command] = {
    "launch": launch,
    "resume": resume,
    "stop": _end,
    "pause": _end,
    "sweeps": _listed(("sweeps",), "sweeps"),
    "status": status,
    "trials": _listed(("sweeps", "{sweep}", "trials"), "trials", top="top"),
    "show": show,
}
