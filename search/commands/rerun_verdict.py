"""How `rerun` ends, at home and by a service; only the standard library is imported."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from lstm_sweep.search.commands.exits import DIFFERENT, DONE
from lstm_sweep.search.texts import verdict
from lstm_sweep.search.texts.terminal import print_json


def print_verdict(result: Mapping[str, Any], *, as_json: bool) -> int:
    """Print the result of a rerun, and return the exit code."""
    output = sys.stderr if as_json else sys.stdout
    for line in verdict.notes(result):
        print(line, file=output)
    if as_json:
        print_json(result)
    else:
        print("\n".join(verdict.lines(result)))
    if not verdict.is_different(result):
        return DONE
    if verdict.of_other_version(result):
        print(verdict.OTHER_VERSION, file=output)
    return DIFFERENT
