"""What `rerun` prints of its result."""

from __future__ import annotations

from collections.abc import Iterator

from lstm_sweep.search.api.models import Rerun
from lstm_sweep.search.texts.terminal import plain

#: what is printed of a rerun that differs from a trial of another version of this program
OTHER_VERSION = (
    "another version of lstm-sweep made this trial, and may draw other windows and other dropout, "
    "or add numbers in another order"
)
#: package whose version that is
PROGRAM = "lstm-sweep"


def notes(result: Rerun) -> Iterator[str]:
    """Lines on what is otherwise than it was: versions, the device, fields of the config."""
    for name, pair in result.changed_versions.items():
        yield f"version of {plain(name)}: then {plain(pair['was'])}, now {plain(pair['is'])}"
    if device := result.changed_device:
        yield f"device: then {plain(device['was'])}, now {plain(device['is'])}"
    for name, pair in result.variation.items():
        yield f"a variation: {plain(name)} is {plain(pair['is'])}, was {plain(pair['was'])}"


def lines(result: Rerun) -> Iterator[str]:
    """Lines on what has come out."""
    compared = f"{result.epochs_compared:g} epochs compared"
    yield f"verdict: {plain(result.verdict)} ({compared})"
    if first := result.first_difference:
        yield (
            f"first difference: epoch {first['epoch']:g}, {plain(first['metric'])}: "
            f"was {plain(first['was'])}, is {plain(first['is'])}"
        )
    run_id = plain(result.rerun_run_id)
    yield f"run {run_id}; to look at it: {PROGRAM} show {run_id}"
