"""The command line: arguments in, one call, text or JSON out; what is printed, and exit codes.

Only the standard library is imported here; each command imports what it needs. What a terminal does
not show is escaped: control characters, and what its encoding lacks. Texts from the store may have
been written by other people.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib
import io
import json
import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lstm_sweep.models.documents import json_text
from lstm_sweep.models.errors import InputError, NoRoomError, escaped, plain
from lstm_sweep.search.cli.parsers import AT_HOME, MODULES, build_parser
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.values.spec import SERVER, TOKEN

if TYPE_CHECKING:
    from rich.console import Console

    from lstm_sweep.search.actions.remote import Actions

DONE = 0
#: something unexpected, or a sweep without a result
FAILED = 1
#: what was given cannot be used
BAD_INPUT = 2
#: a rerun came out different
DIFFERENT = 3
INTERRUPTED = 130

#: control characters of a terminal that JSON does not escape
CONTROL = re.compile(r"[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
NOT_ASCII = re.compile(r"[^\x00-\x7f]")


@dataclass(frozen=True)
class Answer:
    """What a command has to say."""

    #: what `--json` prints
    document: Any
    #: lines, and tables of Rich, for people
    text: Iterable[Any] = ()
    code: int = DONE
    #: what is said behind it on standard error
    wrong: str = ""

    def show(self, *, as_json: bool) -> int:
        try:
            if as_json:
                print_json(self.document)
            else:
                self._print_text()
            sys.stdout.flush()
        except (BrokenPipeError, SystemExit):  # what Rich makes of a pipe that nobody reads
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if self.wrong:
            say(self.wrong)
        return self.code

    def _print_text(self) -> None:
        for part in self.text:
            if isinstance(part, str):
                print(part)
            else:
                open_console().print(part)


def open_console(*, stderr: bool = False) -> Console:
    """A console that is wide where nobody watches, and prints all text as it is."""
    from rich.console import Console

    width = None if stderr or sys.stdout.isatty() else 140
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


def say(text: str) -> None:
    """Print a line on standard error, without secrets."""
    print(f"lstm-sweep: {without_secrets(text)}", file=sys.stderr, flush=True)


def say_left_out(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        say(f"left out: {sentence}")


def printable(text: str) -> str:
    """A text for standard output: if that is a terminal, what could control it is escaped."""
    return escaped(text, "\n\t") if sys.stdout.isatty() else text


def escape_what_is_not_encoded() -> None:
    """Let this process print what its terminal's encoding lacks as backslash escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError):  # it stands for another file by now
                stream.reconfigure(errors="backslashreplace")


def plain_json(document: str, encoding: str | None = "utf-8") -> str:
    """JSON of the same values, escaped: control characters, and what `encoding` lacks."""
    document = CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", document)
    try:
        document.encode(encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return NOT_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], document)
    return document


def print_json(document: Any) -> None:
    print(plain_json(json_text(document), sys.stdout.encoding))


def csv_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV (RFC 4180); a mapping makes columns such as `config.layers`."""
    flat = [dict(_flat(row)) for row in rows]
    columns = list(dict.fromkeys(name for row in flat for name in row))
    output = io.StringIO()
    writer = csv.DictWriter(output, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return printable(output.getvalue().removesuffix("\n"))


def _flat(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{key}", one) for key, one in value.items())
        else:
            yield name, value


def main(arguments: Sequence[str] | None = None) -> int:
    parsed = argparse.Namespace(command=None)
    escape_what_is_not_encoded()
    try:
        parsed = build_parser().parse_args(arguments)
        given = [] if parsed.command in AT_HOME else [actions_of(parsed)]
        elsewhere = (one for one, names in MODULES.items() if parsed.command in names)
        module = next(elsewhere, "sweeps")
        run = getattr(importlib.import_module(f"lstm_sweep.search.cli.{module}"), parsed.command)
        answer: Answer | int = run(parsed, *given)
        return answer if isinstance(answer, int) else answer.show(as_json=parsed.json)
    except InputError as error:
        say(str(error))
        return BAD_INPUT
    except (StoreError, NoRoomError) as error:
        say(plain(without_secrets(str(error))))
        return FAILED
    except KeyboardInterrupt as interrupt:
        say("interrupted")
        return int(getattr(interrupt, "code", INTERRUPTED))
    except BrokenPipeError:
        sys.stderr.close()
        return DONE
    except Exception as error:
        if parsed.command in ("launch", "resume"):
            say("`lstm-sweep sweeps` shows what can be resumed")
        print(without_secrets(traceback.format_exc()), end="", file=sys.stderr)
        say(f"unexpected {type(error).__name__}: {error}")
        return FAILED


def actions_of(arguments: argparse.Namespace) -> Actions:
    """What the command of these arguments calls: here, or the service that `--server` names."""
    given, where = arguments.server, "--server"
    if given is None:
        given, where = os.environ.get(SERVER) or None, SERVER
    if given is not None:
        from lstm_sweep.search.actions.connection import Connection, check_address
        from lstm_sweep.search.actions.remote import Remote

        def tell(line: str) -> None:
            say(plain(without_secrets(line)))

        address = check_address(given, where)
        return Remote(Connection(address, os.environ.get(TOKEN, ""), say=tell))
    if getattr(arguments, "detach", False):
        raise InputError("--detach is given without a service: expected --server URL with it")
    from lstm_sweep.search.actions.local import Local

    return Local()
