"""Values as JSON prints them, `Document`, and times and losses as people read them.

The command line imports it at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from lstm_sweep.models.rounds import epochs_text

if TYPE_CHECKING:
    from lstm_sweep.search.values.trial import Trial

#: metadata of a field that no document has, and of one that only those of a service have, for
#: those who print what it answers
OMITTED, SAID = {"document": False}, {"said": True}


def rounded(digits: int) -> dict[str, int]:
    """Metadata of a number that documents have with so many digits behind the point."""
    return {"digits": digits}


class Document:
    """A dataclass that is a document, but for fields that are `OMITTED`."""

    def to_dict(self) -> dict[str, Any]:
        return _document(self, said=False)

    def document(self) -> dict[str, Any]:
        return _document(self, said=True)


def fields_of(kind: type[Any]) -> list[dataclasses.Field[Any]]:
    return [one for one in dataclasses.fields(kind) if one.metadata.get("document", True)]


def _document(value: Document, *, said: bool) -> dict[str, Any]:
    return {
        field.name: _plain(getattr(value, field.name), said, field.metadata.get("digits"))
        for field in fields_of(type(value))
        if said or "said" not in field.metadata
    }


def _plain(value: Any, said: bool, digits: int | None = None) -> Any:
    if isinstance(value, float) and digits is not None:
        return round(value, digits)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, Mapping):
        return {name: _plain(one, said) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, said) for one in value]
    if said and hasattr(value, "document"):
        return value.document()
    return value.to_dict() if hasattr(value, "to_dict") else value


def answered(value: Any) -> Any:
    """Values, or what holds some, as a service answers with them."""
    return _plain(value, said=True)


#: wall time of a sweep that is given no limit
DEFAULT_MINUTES = 30.0
#: steps in which times that are only estimated are rounded, by the least seconds that have each
_STEPS = ((7_200, 900), (1_800, 300), (300, 60), (60, 15), (20, 5), (0, 1))


def duration(seconds: float | None) -> str:
    """A time for people: `42 s`, `3 min 05 s`, `2 h 10 min`; `?` if it is not known."""
    if seconds is None:
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def budget_text(trials: int | None, minutes: float | None) -> str:
    """What a sweep may take at most: `40 trials`, `30 minutes`, `40 trials or 30 minutes`."""
    parts = []
    if trials is not None:
        parts.append(f"{trials:,} trials" if trials != 1 else "1 trial")
    if minutes is not None:
        parts.append(f"{minutes:g} minutes" if minutes != 1 else "1 minute")
    return " or ".join(parts)


def time_left_text(seconds: float | None) -> str:
    """An estimated time for people: `about 12 min left`."""
    return f"about {about(seconds)} left"


def about(seconds: float | None) -> str:
    """A time without more figures than an estimate has: `45 s`, `12 min`, `1 h 15 min`."""
    if seconds is None:
        return "?"
    step = next(step for least, step in _STEPS if seconds >= least)
    text = duration(step * round(seconds / step))
    return text.removesuffix(" 00 s").removesuffix(" 00 min")


def loss_text(loss: float | None) -> str:
    return "-" if loss is None else f"{loss:.4f}"


def trained_text(progress: Trial) -> str:
    """The epochs that a trial is trained, of how many if that is known."""
    planned, rounds = progress.config.planned_epochs, progress.rounds_per_epoch
    share = progress.latest.share if progress.latest and not progress.ended else None
    done = (len(progress.rounds) + (share or 0.0)) / rounds
    trained = f"{done:.1f}" if share and rounds == 1 else epochs_text(done, rounds)
    return trained if planned is None else f"{trained}/{planned}"
