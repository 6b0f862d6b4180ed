"""`export` and `report` by a service: what it has made becomes a folder or a file here."""

from __future__ import annotations

import json
import shutil
from argparse import Namespace
from pathlib import Path
from typing import Any

from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.client.connection import Connection, NoAnswerError, RefusedError
from lstm_sweep.search.client.downloading import AGAIN_S, download
from lstm_sweep.search.client.unpacking import unpack
from lstm_sweep.search.commands.afar_trials import path_of_trial
from lstm_sweep.search.commands.exits import DONE
from lstm_sweep.search.process.new_paths import (
    become,
    new_folder,
    new_report,
    scratch_beside,
    write_report,
)
from lstm_sweep.search.process.signals import Shield
from lstm_sweep.search.texts.exported import next_lines
from lstm_sweep.search.texts.terminal import plain, print_json

#: headers with what `export` and `report` print
EXPORT, REPORT = "lstm-sweep-export", "lstm-sweep-report"
#: seconds within which a bundle is to be made
MAKING_S = 3600.0


def export(arguments: Namespace, service: Connection) -> int:
    """Fetch a checked bundle, and write it as a folder that works on its own."""
    to = new_folder(arguments.to)
    # the name of a sweep, or a run of a trial: the service knows which
    reference = arguments.reference
    path = path_of_trial(reference) if "/" in reference else ("sweeps", _named(reference))
    asked = {"format": arguments.format, "unchecked": arguments.unchecked}
    made: dict[str, Any] = {}
    if arguments.register is not None:
        body = asked | {"model": arguments.register}
        made = service.send("POST", *path, "versions", document=body, once=True).document()
    else:
        _make(service, path, asked)
    with Shield().up():
        result = _fetch(service, to, (*path, "export"), asked) | made
    lines = result.pop("lines")
    if arguments.json:
        print_json({"bundle": str(to), **result})
        return DONE
    print(f"{plain(result['trial'])} -> {to}")
    for line in lines:
        print(plain(line))
    if not made and result.get("test_loss") is not None:
        print("\n".join(next_lines(plain(result["trial"]), arguments.to)))
    return DONE


def _make(service: Connection, path: tuple[str, ...], asked: dict[str, Any]) -> None:
    """Have a bundle made; the answer may take minutes, and is asked for again if nothing comes.

    Raises:
        RefusedError: the service refuses.
        NoAnswerError: it does not answer for long.
    """
    until = service.clock() + MAKING_S
    while True:
        try:
            service.send("POST", *path, "exports", document=asked, once=True)
            return
        except NoAnswerError as error:
            if service.clock() > until:
                raise
            service.say(f"{error}; asking again")
        except RefusedError as error:  # an earlier request of this user may still be under way
            if error.status != 429 or service.clock() > until:
                raise
        service.sleep(AGAIN_S)
        service.get("health")  # whether it is there at all


def _named(reference: str) -> str:
    if not reference:
        raise InputError("'': expected the name of a sweep, SWEEP/NUMBER, or a run ID")
    return reference


def _fetch(
    service: Connection, to: Path, path: tuple[str, ...], query: dict[str, Any]
) -> dict[str, Any]:
    """Download a bundle and unpack it as folder `to`, whole or not at all; what is said of it."""
    scratch = scratch_beside(to)
    try:
        headers = download(service, scratch / "bundle.zip", *path, **query)
        result: dict[str, Any] = json.loads(headers[EXPORT])
        unpack(scratch / "bundle.zip", scratch / "bundle")
        become(scratch / "bundle", to)
    except OSError as error:
        raise InputError(
            f"--to {shown(str(to))}: {error.strerror}, expected a folder to write to"
        ) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return result


def report(arguments: Namespace, service: Connection) -> int:
    """Write the report of a sweep to a file."""
    name = arguments.sweep
    if not name or "/" in name:
        raise InputError(f"sweep is {shown(name)}: expected the name of a sweep")
    file = new_report(f"{name}-report.html" if arguments.to is None else arguments.to)
    answer = service.get("sweeps", name, "report", accept="text/html")
    headers = {key.lower(): value for key, value in answer.headers.items()}
    about: dict[str, Any] = json.loads(headers[REPORT])
    write_report(file, answer.content.decode("utf-8", "replace"))
    headline = about.pop("headline")
    if arguments.json:
        print_json(about | {"report": str(file)})
        return DONE
    print(plain(headline))
    print(f"{name} -> {file}")
    return DONE
