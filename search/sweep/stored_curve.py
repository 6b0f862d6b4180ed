"""Reads the rounds of a trial back from its run."""

from __future__ import annotations

import json
from collections.abc import Iterable

from lstm_sweep.search.store.tags import Tag, Tags, is_finite
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.store.trial_end import CURVE
from lstm_sweep.search.store.trial_record import TrialRecord

#: values of a round that are read
NAMES = (*CURVE, "scoring_seconds")


def read_curve(store: Store, record: TrialRecord) -> list[dict[str, float]]:
    """Validation loss and seconds of each round, from the tags or else the metrics."""
    if record.tags.get(Tag.CURVE):
        return written_curve(record)
    if not record.epochs:
        return []
    columns = [store.history(record.run_id, name) for name in NAMES]
    steps = sorted({step for column in columns for step in column})
    return [_round([column.get(step) for column in columns]) for step in steps]


def written_curve(record: TrialRecord) -> list[dict[str, float]]:
    """The same from the tags alone.

    Raises:
        BadRunError: they hold something else.
    """
    rows = _written_curve(record.tags)
    scoring = _written_scoring(record.tags, len(rows))
    return [_round([*row, seconds]) for row, seconds in zip(rows, scoring, strict=True)]


def _round(row: Iterable[float | None]) -> dict[str, float]:
    """The values of a round by their names, without what is not known."""
    return {
        name: value
        for name, value in zip(NAMES, row, strict=True)
        if value is not None and _counts(name, value)
    }


def _counts(name: str, value: float) -> bool:
    """Whether a value of a round is taken: a loss may be no number, but times are added up."""
    if name == "val_loss":
        return True
    return is_finite(value) and (value > 0 if name == "round_seconds" else value >= 0)


def _written_curve(tags: Tags) -> list[list[float | None]]:
    """The values of `CURVE` for each round in the tag of a run."""
    found: list[list[float | None]] = tags.json(Tag.CURVE, list)
    for values in found:
        known = isinstance(values, list) and len(values) == len(CURVE)
        if not known or not all(isinstance(one, int | float | None) for one in values):
            raise tags.bad(Tag.CURVE, f"{' and '.join(CURVE)} of each round")
    return found


def _written_scoring(tags: Tags, rounds: int) -> list[float | None]:
    """Seconds of scoring of each round in the tag of a run, if they were measured."""
    found: list[float | None] = tags.json(Tag.SCORING_SECONDS, list, json.dumps([None] * rounds))
    if len(found) != rounds or not all(one is None or is_finite(one) for one in found):
        raise tags.bad(Tag.SCORING_SECONDS, f"a number for each of {rounds} rounds")
    return found
