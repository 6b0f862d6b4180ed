"""What `delete` and `prune` print; only the standard library is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lstm_sweep.search.texts.terminal import plain

UNITS = ("bytes", "kB", "MB", "GB", "TB")


def bytes_text(count: int) -> str:
    """A number of bytes for people: `34.5 MB`."""
    value, unit = float(count), 0
    while value >= 1000 and unit < len(UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.1f} {UNITS[unit]}" if unit else f"{count} {UNITS[0]}"


def runs_text(found: Mapping[str, Any]) -> str:
    """How much is deleted, by its JSON: `12 runs, 34.5 MB of files`."""
    runs = found["runs"]
    return f"{runs:,} run{'' if runs == 1 else 's'}, {bytes_text(found['bytes'])} of files"


def deleted_lines(found: Mapping[str, Any], *, would: bool = False) -> list[str]:
    """The lines of a sweep that was deleted, or `would` be."""
    said = "would be deleted" if would else "deleted"
    beside = " beside its best trial" if found["keeps_best"] else ""
    return [f"sweep {plain(found['sweep'])}{beside}: {runs_text(found)} {said}", *_more(found)]


def pruned_lines(found: Mapping[str, Any], *, would: bool = False) -> list[str]:
    """The lines of a store that was pruned, or `would` be."""
    lines = [line for one in found["sweeps"] for line in deleted_lines(one, would=would)[:1]]
    said = "would be freed" if would else "freed"
    count = len(found["sweeps"])
    total = f"{count} sweep{'' if count == 1 else 's'}: {runs_text(found)} {said}"
    return [*lines, total, *_more(found)]


def _more(found: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{plain(version)} stays, with the files of its model: delete it in MLflow to free those"
        for version in found["kept"]
    ]
    if marked := found["marked"]:
        lines.append(
            f"the tracking server lists {marked:,} of the runs as deleted; `mlflow gc` there takes "
            f"them out of its database"
        )
    return lines
