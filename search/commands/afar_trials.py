"""`show`, `compare` and `rerun` by a service."""

from __future__ import annotations

import re
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from typing import Any

from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.client.connection import Connection, RefusedError
from lstm_sweep.search.commands.afar_printing import TEXT, print_text, say
from lstm_sweep.search.commands.afar_spec import sending
from lstm_sweep.search.commands.exits import BAD_INPUT, DONE, FAILED, INTERRUPTED
from lstm_sweep.search.commands.rerun_verdict import print_verdict
from lstm_sweep.search.engine_names import ENGINES
from lstm_sweep.search.texts.terminal import plain, print_json

#: seconds between two looks at a rerun
LOOK_EVERY_S = 1.0
#: what may be a run ID or its beginning
RUN_ID = re.compile("[0-9a-f]{4,32}")
#: status of HTTP of what is not there
NOT_FOUND = 404


def show(arguments: Namespace, service: Connection) -> int:
    """Show a sweep with its result, or one trial, round by round."""
    reference = arguments.reference
    if "/" in reference:
        return _show(path_of_trial(reference), service, as_json=arguments.json)
    try:
        return _show(("sweeps", reference, "result"), service, as_json=arguments.json)
    except RefusedError as error:
        if error.status != NOT_FOUND or not RUN_ID.fullmatch(reference):
            raise
    return _show(("runs", reference), service, as_json=arguments.json)


def _show(path: tuple[str, ...], service: Connection, *, as_json: bool) -> int:
    """Print what a service has there, without what it says to clients alone."""
    if not as_json:
        print_text(service.get(*path, accept=TEXT))
        return DONE
    found = service.get(*path).document()
    print_json({name: found[name] for name in found if name != "why"})
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


def compare(arguments: Namespace, service: Connection) -> int:
    """Show two trials, or the best ones of sweeps, side by side."""
    query = {"first": arguments.first, "other": arguments.other}
    if arguments.json:
        print_json(service.get("compare", **query).document())
    else:
        print_text(service.get("compare", accept=TEXT, **query))
    return DONE


def rerun(
    arguments: Namespace, service: Connection, sleep: Callable[[float], None] = time.sleep
) -> int:
    """Let a service train a trial again, wait for it, and say how it compares."""
    path = (*path_of_trial(arguments.trial), "reruns")
    body = {"set": arguments.settings}
    if arguments.on != next(iter(ENGINES)):
        body["on"] = arguments.on
    with sending(service) as sent:
        if arguments.template is not None:
            body["template"] = sent.send_template(arguments.template)
        found = service.send("POST", *path, document=body, once=True).document()
    # the service may still refuse it, and then nothing is printed on standard output
    print(f"training {plain(found['trial'])} again (run {plain(found['run_id'])})", file=sys.stderr)
    try:
        found = _ended(found, service, sleep)
    except KeyboardInterrupt:
        say(f"{found['trial']} is trained again all the same; `lstm-sweep ui` there shows its run")
        return INTERRUPTED
    if found["state"] == "failed":
        say(found["why"])
        return BAD_INPUT if found["exit_code"] == BAD_INPUT else FAILED
    return print_verdict(found["result"], as_json=arguments.json)


def _ended(
    found: dict[str, Any], service: Connection, sleep: Callable[[float], None]
) -> dict[str, Any]:
    """A rerun once it has ended."""
    waits, service = "", service.lasting()
    while found["state"] in ("queued", "running"):
        if found["why"] and found["why"] != waits:
            waits = found["why"]
            say(f"the rerun {waits}")
        sleep(LOOK_EVERY_S)
        found = service.get("reruns", found["id"]).document()
    return found
