"""Escapes control characters in texts from the store, which other people may have written."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import Any

from lstm_sweep.models.errors import cut, escaped
from lstm_sweep.models.strict_json import json_text

#: characters of a text that are shown, at most
LONGEST_SHOWN = 600
#: control characters of a terminal that JSON does not escape
CONTROL = re.compile(r"[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def plain(text: object) -> str:
    """A text in one short line, with control characters escaped."""
    return escaped(cut(str(text), LONGEST_SHOWN))


def plain_json(document: str) -> str:
    """A JSON document of the same values, with control characters escaped."""
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def print_json(document: Any) -> None:
    """Print what `--json` asks for."""
    print(plain_json(json_text(document)))


def print_left_out(sentences: Iterable[str]) -> None:
    """Say on standard error which runs of the store are left out, and why."""
    for sentence in sentences:
        print(f"lstm-sweep: left out: {sentence}", file=sys.stderr)
