"""Learning curves of real trainings, stored compactly: a line of JSON for each config."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lstm_sweep.models.config import TrialConfig

FOLDER = Path(__file__).parent / "curves"


@dataclass(frozen=True)
class Curve:
    """What one config did, epoch by epoch, and what it cost."""

    config: TrialConfig
    #: how it ended: `complete`, `diverged` ...
    outcome: str
    #: validation loss after each epoch, nats
    losses: tuple[float, ...]
    #: seconds that each of these epochs took on one core; the first with building and tracing
    seconds: tuple[float, ...]
    #: seconds that belong to no finished epoch
    fixed: float


def read(file: Path) -> tuple[dict[str, Any], list[Curve]]:
    """The head of a recording (corpus, grid, machine), and its curves."""
    lines = file.read_text(encoding="utf-8").splitlines()
    head: dict[str, Any] = json.loads(lines[0])
    return head, list(_curves(head, lines[1:]))


def _curves(head: dict[str, Any], lines: list[str]) -> Iterator[Curve]:
    for line in lines:
        row = json.loads(line)
        yield Curve(
            TrialConfig.from_dict({**head["common"], **row["config"]}),
            row["outcome"],
            tuple(row["losses"]),
            tuple(row["seconds"]),
            row["fixed"],
        )


def line_of(curve: Curve, common: dict[str, Any]) -> str:
    """A curve as a line; fields that all configs share stand in the head alone."""
    config = {k: v for k, v in curve.config.to_dict().items() if k not in common}
    row = {
        "config": config,
        "outcome": curve.outcome,
        "losses": [round(loss, 5) for loss in curve.losses],
        "seconds": [round(second, 3) for second in curve.seconds],
        "fixed": round(curve.fixed, 3),
    }
    return json.dumps(row, separators=(",", ":"))
