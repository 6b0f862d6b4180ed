"""`launch --dry-run`, at home and by a service; only the standard library is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lstm_sweep.search.texts import dry_run
from lstm_sweep.search.texts.terminal import print_json


def print_dry_run(result: Mapping[str, Any], *, as_json: bool) -> None:
    """Print what a sweep would do, which is given as JSON has it."""
    if as_json:
        print_json(result)
    else:
        print("\n".join(dry_run.lines(result)))
