"""What commands that a service runs print: its texts, for the terminal that is here."""

from __future__ import annotations

import json
import os
import shutil
import sys

from lstm_sweep.search.client.connection import Answer
from lstm_sweep.search.texts.terminal import plain, print_left_out

TEXT = "text/plain"
#: how a request names the terminal that is here, and an answer what is left out
TERMINAL, LEFT_OUT = "Lstm-Sweep-Terminal", "Lstm-Sweep-Left-Out"
#: columns for whoever is no terminal
COLUMNS = 140


def say(line: str) -> None:
    """Print a line on standard error."""
    print(f"lstm-sweep: {plain(line)}", file=sys.stderr, flush=True)


def terminal() -> str:
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


def print_text(answer: Answer) -> None:
    """Print what a command prints, and what it says is left out."""
    left_out = {name.lower(): value for name, value in answer.headers.items()}.get(LEFT_OUT.lower())
    print_left_out(json.loads(left_out) if left_out else ())
    sys.stdout.write(answer.content.decode("utf-8", "replace"))
    sys.stdout.flush()
