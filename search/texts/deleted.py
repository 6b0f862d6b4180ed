"""What `delete` and `prune` print."""

from __future__ import annotations

from lstm_sweep.search.api.deletion import Deleted, Pruned
from lstm_sweep.search.store.deletion import Freed
from lstm_sweep.search.texts.terminal import plain

UNITS = ("bytes", "kB", "MB", "GB", "TB")


def bytes_text(count: int) -> str:
    """A number of bytes for people: `34.5 MB`."""
    value, unit = float(count), 0
    while value >= 1000 and unit < len(UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.1f} {UNITS[unit]}" if unit else f"{count} {UNITS[0]}"


def runs_text(freed: Freed) -> str:
    """How much is deleted: `12 runs, 34.5 MB of files`."""
    runs = freed.runs
    return f"{runs:,} run{'' if runs == 1 else 's'}, {bytes_text(freed.bytes)} of files"


def deleted_lines(found: Deleted, *, would: bool = False) -> list[str]:
    """The lines of a sweep that was deleted, or `would` be."""
    said = "would be deleted" if would else "deleted"
    beside = " beside its best trial" if found.keeps_best else ""
    line = f"sweep {plain(found.sweep)}{beside}: {runs_text(found.freed)} {said}"
    return [line, *_more(found.freed)]


def pruned_lines(found: Pruned, *, would: bool = False) -> list[str]:
    """The lines of a store that was pruned, or `would` be."""
    lines = [line for one in found.sweeps for line in deleted_lines(one, would=would)[:1]]
    said = "would be freed" if would else "freed"
    count = len(found.sweeps)
    total = f"{count} sweep{'' if count == 1 else 's'}: {runs_text(found.freed)} {said}"
    return [*lines, total, *_more(found.freed)]


def _more(freed: Freed) -> list[str]:
    lines = [
        f"{plain(version)} stays, with the files of its model: delete it in MLflow to free those"
        for version in freed.kept
    ]
    if marked := freed.marked:
        lines.append(
            f"the tracking server lists {marked:,} of the runs as deleted; `mlflow gc` there takes "
            f"them out of its database"
        )
    return lines
