"""`launch` and `resume` by a service: a sweep is sent, and followed to its end."""

from __future__ import annotations

import secrets
import sys
from argparse import Namespace
from typing import Any

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.client.connection import Connection, RefusedError
from lstm_sweep.search.client.listening import events
from lstm_sweep.search.commands.afar_printing import TEXT, print_text, say
from lstm_sweep.search.commands.afar_progress import JsonLines, Lines, Progress, Silent
from lstm_sweep.search.commands.afar_spec import (
    Sent,
    fields_of,
    fields_of_file,
    given_of,
    sending,
)
from lstm_sweep.search.commands.dry_run import print_dry_run
from lstm_sweep.search.commands.exits import DONE, FAILED, INTERRUPTED
from lstm_sweep.search.spec import CHANGEABLE
from lstm_sweep.search.texts.terminal import plain, print_json
from lstm_sweep.search.times import DEFAULT_MINUTES, budget_text

#: end of the type of a refusal to go on with a sweep that has spent all that it may
NOTHING_TO_DO = ":nothing-to-do"


def launch(arguments: Namespace, service: Connection) -> int:
    """Send a sweep to a service, and follow it to its end."""
    refuse(arguments, ("address",))
    if arguments.data is None and arguments.template is None and arguments.spec is None:
        raise InputError("--data is missing: expected a text file, a folder of files, or a sample")
    key = secrets.token_hex(16)
    with sending(service, arguments.spec) as sent:
        body = fields_of(arguments, sent)
        if arguments.dry_run:
            return _dry_run(body, sent, as_json=arguments.json)
        made = service.send("POST", "sweeps", document=body, key=key).document()
    trials, minutes = body.get("trials"), body.get("minutes")
    takes = budget_text(trials, DEFAULT_MINUTES if trials is minutes is None else minutes)
    return _go_on(arguments, service, made, f", {takes} once it has slots")


def _dry_run(body: dict[str, Any], sent: Sent, *, as_json: bool) -> int:
    """Print what a service would do with a submission, with the paths of this machine."""
    found = sent.service.send("POST", "dry-runs", document=body).document()
    spec = found["spec"]
    for name in ("data", "template"):
        if spec.get(name):
            spec[name] = sent.in_words_of_here(spec[name], sent.paths)
    found["notes"] = [sent.in_words_of_here(note, sent.paths) for note in found["notes"]]
    print_dry_run(found, as_json=as_json)
    return DONE


def resume(arguments: Namespace, service: Connection) -> int:
    """Let a service go on with a sweep, and follow it to its end."""
    refuse(arguments, ("address",))
    body = given_of(arguments, CHANGEABLE)
    path = ("sweeps", arguments.sweep)
    with sending(service, arguments.spec) as sent:
        if arguments.spec is not None:
            body["spec"] = fields_of_file(arguments.spec, sent)
        if arguments.template is not None:
            body["template"] = sent.send_template(arguments.template)
        try:
            made = service.send("POST", *path, "resume", document=body).document()
        except RefusedError as error:
            if not str(error.more.get("type")).endswith(NOTHING_TO_DO):
                raise
            if arguments.json:
                print_json(_without_why(service.get(*path, "result").document()))
            else:
                print(plain(error))
            return DONE
    return _go_on(arguments, service, made)


def _without_why(result: dict[str, Any]) -> dict[str, Any]:
    """The result of a sweep as `launch --json` prints it."""
    return {name: result[name] for name in result if name != "why"}


def refuse(arguments: Namespace, names: tuple[str, ...]) -> None:
    """Refuse options that a service does not take."""
    for name in names:
        if getattr(arguments, name, None) not in (None, False):
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option} is given with a service: expected a command without it")


def _go_on(arguments: Namespace, service: Connection, made: dict[str, Any], takes: str = "") -> int:
    """Follow a sweep that the service has, unless nobody wants to, and print its result."""
    name = made["sweep"]
    if arguments.detach:
        if arguments.json:
            made.pop("owner")
            print_json(made)
        else:
            print(
                f"sweep {name}: {made['state']}{takes}; lstm-sweep status {name} --follow "
                f"follows it, and says when it ends"
            )
        return DONE
    try:
        progress = _progress_of(arguments.progress, name)
        for event in events(service, name):
            progress.hear(event)
    except KeyboardInterrupt:
        say(
            f"sweep {name} goes on: `lstm-sweep status {name} --follow` follows it, "
            f"`lstm-sweep stop {name}` ends it"
        )
        return INTERRUPTED
    path, service = ("sweeps", name, "result"), service.lasting()
    result = service.get(*path).document()
    progress.ended(result)
    why = result["why"]
    if arguments.json:
        print_json(_without_why(result))
    else:
        print_text(service.get(*path, accept=TEXT))
    if result["state"] == "failed":
        say(f"{why}; `lstm-sweep resume {name}` goes on once that is mended")
        return FAILED
    if result["state"] == "finished" and result["best"] is None:
        hint = f"`lstm-sweep trials {name}` lists how they have ended, and `show` says why"
        say(f"no trial of '{name}' has a result; {hint}")
        return FAILED
    return INTERRUPTED if result["state"] == "interrupted" else DONE


def _progress_of(kind: str, name: str) -> Progress:
    """What tells the progress of a sweep, by `--progress`; a table is told in lines."""
    if kind == "off":
        return Silent()
    if kind == "json":
        return JsonLines(name)
    return Lines(name, lambda line: print(plain(line), file=sys.stderr, flush=True))
