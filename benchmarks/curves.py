"""Learning curves of real trainings, stored compactly: a line of JSON for each config."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lstm_sweep.models.config import FIELDS, TrialConfig
from lstm_sweep.search.policy.cost import DataSize
from lstm_sweep.spaces.space import Space, from_mapping

#: what a recording trained with where it does not say it
UNSAID: Mapping[str, str | float] = {
    "state": "reset", "weight_decay": 0.0, "averaging": "off",
}  # fmt: skip
FOLDER = Path(__file__).parent / "curves"
#: mark of a recording by which no default may be chosen
HELD_OUT = " (held out)"
#: of a recording that does not say it: nats, and codes
UNIGRAM_LOSS, ALPHABET = 3.29, 90


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
            TrialConfig.from_dict(_known({**UNSAID, **head["common"], **row["config"]})),
            row["outcome"],
            tuple(row["losses"]),
            tuple(row["seconds"]),
            row["fixed"],
        )


def space_of(head: Mapping[str, Any], file: Path) -> Space:
    """The space of a recording, whose head may be of a version with other fields."""
    return from_mapping(_known({**UNSAID, **head["space"]}), str(file))


def _known(values: dict[str, Any]) -> dict[str, Any]:
    """Those of fields that configs still have: the others were the same in all of a recording."""
    return {name: value for name, value in values.items() if name in FIELDS}


def data_size_of(head: Mapping[str, Any]) -> DataSize:
    """The data of a recording, as the cost model is told of them: its scale is learned anyway.

    If a recording ends before its epochs do, an epoch is what was recorded.
    """
    corpus, rounds_per_epoch = head["corpus"], head.get("rounds_per_epoch", 1)
    symbols = corpus["symbols"] if "symbols" in corpus else int(corpus["characters"] * 0.8)
    alphabet = corpus.get("alphabet", ALPHABET)
    rounds = head.get("rounds", math.inf)
    if rounds < rounds_per_epoch:
        symbols, rounds_per_epoch = round(symbols * rounds / rounds_per_epoch), rounds
    return DataSize(symbols, alphabet, corpus["targets"], rounds_per_epoch)


def unigram_loss_of(head: Mapping[str, Any]) -> float:
    """Loss of the unigram baseline on the corpus of a recording, nats."""
    return float(head["corpus"].get("unigram_loss", UNIGRAM_LOSS))


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
