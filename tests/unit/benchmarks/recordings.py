"""Recordings of learning curves that are made up."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.curves import UNSAID, Curve
from lstm_sweep.models.config import TrialConfig

#: a space of 3 rates and 2 sizes, each trained for 9 rounds of one epoch
SPACE: dict[str, Any] = {
    "direction": "uni",
    "learning_rate": [0.001, 0.01, 0.1],
    "dropout": 0.0,
    "layers": 1,
    "layer_size": [16, 32],
    "sequence_length": 20,
    "batch_size": 16,
    "stride": 0,
    "offset": "random",
    "state": "reset",
    "optimizer": "rmsprop",
    "embedding_size": 0,
    "precision": "float32",
    "epochs": 1,
    **UNSAID,
}
CORPUS = {"symbols": 160_000, "alphabet": 30, "digest": "d", "targets": 100, "unigram_loss": 3.0}
HEAD: dict[str, Any] = {"corpus": CORPUS, "space": SPACE, "rounds_per_epoch": 9, "rounds": 9}
COMMON = {name: value for name, value in SPACE.items() if not isinstance(value, list)}


def config(rate: float, size: int) -> TrialConfig:
    """A config of the space."""
    return TrialConfig.from_dict({**SPACE, "learning_rate": rate, "layer_size": size})


def curve(
    rate: float, size: int, losses: Iterable[float], *, seconds: float = 1.0, fixed: float = 0.0
) -> Curve:
    """A curve of such losses, each of which took so many seconds."""
    found = tuple(losses)
    outcome = "complete" if found else "diverged"
    return Curve(config(rate, size), outcome, found, (seconds,) * len(found), fixed)


def line_of(curve: Curve, common: dict[str, Any]) -> str:
    """A curve as a line; fields that all configs share stand in the head alone."""
    fields = curve.config.to_dict().items()
    config = {k: v for k, v in fields if k not in common and UNSAID.get(k) != v}
    row = {
        "config": config,
        "outcome": curve.outcome,
        "losses": [round(loss, 5) for loss in curve.losses],
        "seconds": [round(second, 3) for second in curve.seconds],
        "fixed": round(curve.fixed, 3),
    }
    return json.dumps(row, separators=(",", ":"))


def write(file: Path, curves: Iterable[Curve], **head: Any) -> Path:
    """Write a recording; `head` are fields of its head that differ."""
    first = json.dumps({**HEAD, "common": COMMON, **head})
    file.write_text("\n".join([first, *(line_of(one, COMMON) for one in curves)]) + "\n", "utf-8")
    return file
