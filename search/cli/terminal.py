"""What commands print, and their exit codes.

What a terminal does not show is escaped: control characters, and what its encoding lacks. Texts
from the store may have been written by other people.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lstm_sweep.models.errors import escaped
from lstm_sweep.models.strict_json import json_text

#: control characters of a terminal that JSON does not escape
CONTROL = re.compile(r"[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
#: marks of the first and the second curve, of both, and the axes: corner, vertical, horizontal
UNICODE, ASCII = "●○◉└│─", "*o@+|-"
NOT_ASCII = re.compile(r"[^\x00-\x7f]")

#: what is said below some of the sweeps
OLDER = "there are older ones; lstm-sweep sweeps --all lists them"


def can_encode(encoding: str | None) -> bool:
    """Whether a terminal with this encoding shows more than ASCII."""
    try:
        UNICODE.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


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
    """A JSON document of the same values, with control characters escaped.

    So is all that is not ASCII, if the `encoding` of where it is printed lacks some of it.
    """
    document = CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", document)
    try:
        document.encode(encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return NOT_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], document)
    return document


def print_json(document: Any) -> None:
    """Print what `--json` asks for."""
    print(plain_json(json_text(document), sys.stdout.encoding))


def say_older() -> None:
    """Say on standard error that a list of sweeps has not all of them."""
    print(f"lstm-sweep: {OLDER}", file=sys.stderr)


def print_csv(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows as comma-separated values (RFC 4180).

    A mapping in a row makes columns such as `config.layers`. Rows may have different columns;
    None is an empty cell.
    """
    flat = [dict(_flat(row)) for row in rows]
    columns = list(dict.fromkeys(name for row in flat for name in row))
    output = io.StringIO()
    writer = csv.DictWriter(output, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    print(printable(output.getvalue()), end="")


def _flat(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{key}", one) for key, one in value.items())
        else:
            yield name, value


def print_left_out(sentences: Iterable[str]) -> None:
    """Say on standard error which runs of the store are left out, and why."""
    for sentence in sentences:
        print(f"lstm-sweep: left out: {sentence}", file=sys.stderr)


DONE = 0
#: something unexpected, or a sweep without a result
FAILED = 1
#: what was given cannot be used
BAD_INPUT = 2
#: a rerun came out different
DIFFERENT = 3
INTERRUPTED = 130
