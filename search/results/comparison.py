"""The rounds of a trial compared with those of its rerun, metric by metric."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lstm_sweep.models.rounds import epochs_after

#: relative difference of two metrics up to which a rerun is within tolerance
TOLERANCE = 1e-3

#: metrics of each round of a trial
Rounds = Sequence[dict[str, float]]


@dataclass(frozen=True)
class Comparison:
    """What a rerun has in common with the first run."""

    verdict: str
    #: epochs that both runs have; a whole number if rounds are epochs
    epochs_compared: float
    #: largest absolute difference of two values of one metric; infinite if one of them is none
    max_difference: float
    first_difference: dict[str, Any] | None


def compare(
    was: Rounds, now: Rounds, *, cut_short: bool = False, rounds_per_epoch: int = 1
) -> Comparison:
    """Compare two runs of a trial round by round, metric by metric.

    `cut_short` says that the first run was ended from outside, so it may have fewer rounds.
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
            epoch = epochs_after(number, rounds_per_epoch)
            first = first or {"epoch": epoch, "metric": metric, "was": a, "is": after.get(metric)}
    if len(was) > len(now) or (len(now) > len(was) and not cut_short):
        first = first or {
            "epoch": epochs_after(len(pairs) + 1, rounds_per_epoch),
            "metric": "epochs",
            "was": epochs_after(len(was), rounds_per_epoch),
            "is": epochs_after(len(now), rounds_per_epoch),
        }
        relative = math.inf
    verdict = "different" if relative > TOLERANCE else "within_tolerance" if first else "identical"
    return Comparison(verdict, epochs_after(len(pairs), rounds_per_epoch), largest, first)


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
