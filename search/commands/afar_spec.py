"""What a sweep is to do, as a service is told: options, sweep files, space files, templates.

Only the standard library is imported. Files in YAML are read by the service, and their fields are
sent back to it; data and templates are uploaded unless the service has them.
"""

from __future__ import annotations

import contextlib
from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lstm_sweep.models.data.samples import SAMPLES
from lstm_sweep.models.errors import InputError, nearest, shown
from lstm_sweep.models.yaml_file import read_text
from lstm_sweep.search.client.connection import Connection
from lstm_sweep.search.client.sending import send_data
from lstm_sweep.search.commands.afar_printing import TEXT, print_text, say
from lstm_sweep.search.commands.exits import DONE
from lstm_sweep.search.texts.terminal import print_json
from lstm_sweep.spaces.preset_names import PRESET_NAMES

#: what names data that a service has
THERE = ("server:", "corpus:")
#: what stands before a sentence about a field of a request
REQUEST = "request: "
#: options of `launch` that are fields of a submission; data, template and space are looked at
OPTIONS = (
    "data", "template", "learning_rate_field", "symbols", "ends", "name", "trials", "minutes",
    "workers", "per_gpu", "on", "space", "algo", "ladder", "halving", "prior", "early_stopping",
    "patience", "confirm_configs", "confirm_seeds", "max_failures", "seed", "size_rule", "targets",
    "rounds_per_epoch", "keep",
)  # fmt: skip


def fields_of(arguments: Namespace, service: Connection) -> dict[str, Any]:
    """The fields of a submission, whose data are on their way to the service.

    Raises:
        InputError: an option or a file cannot be used, or the service refuses it.
    """
    fields: dict[str, Any] = {}
    if arguments.spec is not None:
        file = arguments.spec
        found = _yaml_of(file, service, "SWEEP.yaml")
        if not isinstance(found, dict):
            raise InputError(f"{file}: found no fields, expected a mapping such as `trials: 20`")
        if "set" in found or "priority" in found:  # fields of a submission, and of no file
            name = "set" if "set" in found else "priority"
            raise InputError(
                f"{file}: {shown(name)} is no field of a sweep file, expected `trials` or others"
            )
        fields = found
    fields |= given_of(arguments, OPTIONS)
    more = [f"epochs={arguments.epochs}"] if arguments.epochs is not None else []
    if settings := [*arguments.settings, *more]:
        fields["set"] = settings
    if isinstance(fields.get("template"), str):
        fields["template"] = _template(fields["template"], service)
    return _with_files(fields, service)


@contextlib.contextmanager
def sentences_of(file: str | None) -> Iterator[None]:
    """Let refusals name the sweep file or the command line, where the service names the request."""
    try:
        yield
    except InputError as error:
        if not str(error).startswith(REQUEST):
            raise
        where = "command line" if file is None else file
        raise InputError(f"{where}: {str(error).removeprefix(REQUEST)}") from None


def given_of(arguments: Namespace, names: Iterable[str]) -> dict[str, Any]:
    """The options of these names that were given."""
    found = {name: getattr(arguments, name, None) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _with_files(fields: dict[str, Any], service: Connection) -> dict[str, Any]:
    """Fields whose space and data are those of the service."""
    given = dict(fields)
    if isinstance(given.get("space"), str):
        given["space"] = _space(given["space"], service)
    if isinstance(given.get("data"), str):
        given["data"] = _data(given["data"], service)
    return given


def _data(given: str, service: Connection) -> str:
    is_there = given in SAMPLES or given.startswith(THERE)
    return given if is_there else send_data(service, given, say)


def _template(given: str, service: Connection) -> str:
    """What the service calls a template, which is sent only if it takes code."""
    if not service.get("ready").document().get("takes_code", True):
        raise InputError(
            f"template {shown(given)}: it is code, which {service.address} does not run: expected "
            f"a service that was started with --allow-code"
        )
    if given.startswith(THERE):
        return given
    try:
        is_file = Path(given).expanduser().is_file()
    except (OSError, RuntimeError, ValueError):
        is_file = False
    if not is_file:
        raise InputError(f"template {shown(given)}: expected a file in Python")
    return send_data(service, given, say)


def _space(given: str, service: Connection) -> Any:
    """A declared space by its name, or the dimensions in a file."""
    if given in PRESET_NAMES:
        return given
    try:
        is_file = Path(given).is_file()
    except (OSError, ValueError):
        is_file = False
    if not is_file:
        hint = nearest(given, PRESET_NAMES)
        raise InputError(
            f"{REQUEST}space {shown(given)}: no such file, expected a YAML file or a declared "
            f"space ({', '.join(PRESET_NAMES)}){f'; {hint}' if hint else ''}"
        )
    return _yaml_of(given, service, "space")


def _yaml_of(file: str, service: Connection, what: str) -> Any:
    """What a file in YAML says, which the service reads."""
    if file == "":
        raise InputError(f"{what} is '': expected the path of a YAML file")
    body = {"name": file, "text": read_text(Path(file))}
    return service.send("POST", "yaml", document=body).document()["content"]


def size(arguments: Namespace, service: Connection) -> int:
    """Say what the size rule thinks of the networks of a space."""
    if arguments.data is None:
        raise InputError("--data is missing: expected a path or a sample")
    fields = given_of(arguments, ("data", "symbols", "ends", "space"))
    if arguments.settings:
        fields["set"] = arguments.settings
    with sentences_of(None):
        fields = _with_files(fields, service)
        if not arguments.json:
            print_text(service.send("POST", "sizes", document=fields, accept=TEXT))
            return DONE
        found = service.send("POST", "sizes", document=fields).document()
    print_json({name: found[name] for name in found if name not in ("corpus", "refused")})
    return DONE
