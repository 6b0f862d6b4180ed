"""What a sweep is to do, as a service is told: options, sweep files, space files, templates.

Only the standard library is imported. Files in YAML are read by the service, and their fields are
sent back to it; data and templates are uploaded unless the service has them.
"""

from __future__ import annotations

import contextlib
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lstm_sweep.models.data.source import SAMPLES, Source
from lstm_sweep.models.errors import InputError, cut, nearest, shown
from lstm_sweep.models.yaml_file import read_text
from lstm_sweep.search.client.connection import Connection, RefusedError
from lstm_sweep.search.client.sending import send_data
from lstm_sweep.search.commands.afar_printing import TEXT, print_text, say
from lstm_sweep.search.commands.exits import DONE
from lstm_sweep.search.spec import OPTIONS
from lstm_sweep.search.texts.terminal import print_json
from lstm_sweep.spaces.preset_names import PRESET_NAMES

#: what names data that a service has
THERE = ("server:", "corpus:")
#: what stands before a sentence about a field of a request
REQUEST = "request: "
#: end of the type of a refusal of a sweep file that describes another search
DIFFERENT_SEARCH = ":different-search"


@dataclass
class Sent:
    """What was sent to a service."""

    service: Connection
    #: the path here of each file or folder, by what the service calls it
    paths: dict[str, str] = field(default_factory=dict)
    #: how sentences at home name it
    names: dict[str, str] = field(default_factory=dict)
    #: options of the sweep that were typed
    typed: Mapping[str, Any] = field(default_factory=dict)

    def send(self, given: str) -> str:
        """Send a file or folder; what the service calls it."""
        path = Source(data=given).resolve().data
        there = send_data(self.service, path, say)
        self.paths[there] = self.names[there] = path
        return there

    def send_template(self, given: str) -> str:
        """Send a template, if the service takes code; what the service calls it.

        Raises:
            InputError: there is no such file, or the service does not take code.
        """
        if not self.service.get("ready").document().get("takes_code", True):
            raise InputError(
                f"template {shown(given)}: it is code, which {self.service.address} does not run: "
                f"expected a service that was started with --allow-code"
            )
        if given.startswith(THERE):
            return given
        try:
            path = Path(given).expanduser()
            is_file = path.is_file()
        except (OSError, RuntimeError, ValueError):
            is_file = False
        if not is_file:
            raise InputError(f"template {shown(given)}: expected a file in Python")
        there = self.send(str(path))
        self.names[there] = cut(given)
        return there

    def in_words_of_here(self, text: str, names: Mapping[str, str]) -> str:
        """A text of the service with `names` in place of what it calls what was sent."""
        for there, here in names.items():
            text = text.replace(there, here)
        return text


@contextlib.contextmanager
def sending(service: Connection, file: str | None = None) -> Iterator[Sent]:
    """What is sent to a service while refusals speak of it as at home.

    They name the sweep file or the command line, where the service names the request, and files
    that are here, where it names what was sent.
    """
    sent = Sent(service)
    try:
        yield sent
    except InputError as error:
        raise _as_at_home(error, sent, file) from None


def _as_at_home(error: InputError, sent: Sent, file: str | None) -> InputError:
    """A refusal in the words of here."""
    more = error.more if isinstance(error, RefusedError) else {}
    is_compared = str(more.get("type")).endswith(DIFFERENT_SEARCH)  # by paths
    text = sent.in_words_of_here(str(error), sent.paths if is_compared else sent.names)
    if text.startswith(REQUEST):
        text = text.removeprefix(REQUEST)
        name, _, said = text.partition(" ")
        where = "command line" if file is None else file
        text = f"{OPTIONS[name].flag} {said}" if name in sent.typed else f"{where}: {text}"
    return error if text == str(error) else InputError(text)


def fields_of(arguments: Namespace, sent: Sent) -> dict[str, Any]:
    """The fields of a submission, whose data are on their way to the service.

    Raises:
        InputError: an option or a file cannot be used, or the service refuses it.
    """
    fields = {} if arguments.spec is None else _read_fields(arguments.spec, sent.service)
    sent.typed = given_of(arguments, OPTIONS)
    fields |= sent.typed
    more = [f"epochs={arguments.epochs}"] if arguments.epochs is not None else []
    if settings := [*arguments.settings, *more]:
        fields["set"] = settings
    return _with_files(fields, sent)


def fields_of_file(file: str, sent: Sent) -> dict[str, Any]:
    """The fields of a sweep file, whose data are on their way to the service.

    Raises:
        InputError: it cannot be used, or the service refuses it.
    """
    return _with_files(_read_fields(file, sent.service), sent)


def _read_fields(file: str, service: Connection) -> dict[str, Any]:
    found = _yaml_of(file, service, "SWEEP.yaml")
    if not isinstance(found, dict):
        raise InputError(f"{file}: found no fields, expected a mapping such as `trials: 20`")
    if "set" in found or "priority" in found:  # fields of a submission, and of no file
        name = "set" if "set" in found else "priority"
        raise InputError(
            f"{file}: {shown(name)} is no field of a sweep file, expected `trials` or others"
        )
    return found


def given_of(arguments: Namespace, names: Iterable[str]) -> dict[str, Any]:
    """The options of these names that were given."""
    found = {name: getattr(arguments, name, None) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _with_files(fields: dict[str, Any], sent: Sent) -> dict[str, Any]:
    """Fields whose template, space and data are those of the service."""
    given = dict(fields)
    if isinstance(given.get("template"), str):
        given["template"] = sent.send_template(given["template"])
    if isinstance(given.get("space"), str):
        given["space"] = _space(given["space"], sent.service)
    if isinstance(data := given.get("data"), str):
        is_there = data in SAMPLES or data.startswith(THERE)
        given["data"] = data if is_there else sent.send(data)
    return given


def _space(given: str, service: Connection) -> Any:
    """A declared space by its name, or the dimensions in a file."""
    if given in PRESET_NAMES:
        return given
    try:
        file = Path(given).expanduser()
        is_file = file.is_file()
    except (OSError, RuntimeError, ValueError):
        is_file = False
    if not is_file:
        hint = nearest(given, PRESET_NAMES)
        raise InputError(
            f"{REQUEST}space {shown(given)}: no such file, expected a YAML file or a declared "
            f"space ({', '.join(PRESET_NAMES)}){f'; {hint}' if hint else ''}"
        )
    return _yaml_of(str(file), service, "space")


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
    fields = given_of(arguments, OPTIONS)
    if arguments.settings:
        fields["set"] = arguments.settings
    with sending(service) as sent:
        sent.typed = fields
        fields = _with_files(fields, sent)
        if not arguments.json:
            print_text(service.send("POST", "sizes", document=fields, accept=TEXT))
            return DONE
        found = service.send("POST", "sizes", document=fields).document()
    print_json({name: found[name] for name in found if name not in ("corpus", "refused")})
    return DONE
