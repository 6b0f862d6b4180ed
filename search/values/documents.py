"""`Document`: a value whose fields are the JSON that `--json` prints and a service answers with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

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
