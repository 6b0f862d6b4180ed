"""The course of a trial compared with that of its rerun, metric by metric."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

#: relative difference of two metrics up to which a rerun is within tolerance
TOLERANCE = 1e-3

Epochs = Sequence[dict[str, float]]


@dataclass(frozen=True)
class Comparison:
    """What a rerun has in common with the first run."""

    verdict: str
    epochs_compared: int
    #: largest absolute difference of two values of one metric; infinite if one of them is none
    max_difference: float
    first_difference: dict[str, Any] | None


def compare(was: Epochs, now: Epochs, *, cut_short: bool = False) -> Comparison:
    """Compare two courses epoch by epoch, metric by metric.

    `cut_short` says that the first run was ended from outside, so it may have fewer epochs.
    """
    largest, relative, first = 0.0, 0.0, None
    pairs = list(zip(was, now, strict=False))
    for number, (before, after) in enumerate(pairs, start=1):
        for metric in before:
            a, b = before[metric], after.get(metric, math.nan)
            if a == b or (math.isnan(a) and math.isnan(b)):
                continue
            gap = abs(a - b)
            largest = max(largest, gap) if math.isfinite(gap) else math.inf
            relative = max(relative, gap / max(abs(a), 1e-12)) if math.isfinite(gap) else math.inf
            first = first or {"epoch": number, "metric": metric, "was": a, "is": after.get(metric)}
    if len(was) > len(now) or (len(now) > len(was) and not cut_short):
        first = first or {
            "epoch": len(pairs) + 1,
            "metric": "epochs",
            "was": len(was),
            "is": len(now),
        }
        relative = math.inf
    verdict = "different" if relative > TOLERANCE else "within_tolerance" if first else "identical"
    return Comparison(verdict, len(pairs), largest, first)


def with_losses(found: Comparison, was: float | None, now: float | None) -> Comparison:
    """What a comparison says if the losses that two trials have returned differ too."""
    a, b = (math.inf if loss is None else loss for loss in (was, now))
    gap = abs(a - b)
    near = (
        math.isfinite(gap)
        and gap <= TOLERANCE * max(abs(a), 1e-12)
        and found.verdict != "different"
    )
    difference = {"epoch": found.epochs_compared, "metric": "loss", "was": was, "is": now}
    return Comparison(
        "within_tolerance" if near else "different",
        found.epochs_compared,
        max(found.max_difference, gap),
        found.first_difference or difference,
    )
