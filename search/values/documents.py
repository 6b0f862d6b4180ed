"""`Document`: a value whose fields are the JSON that `--json` prints and a service answers with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

#: metadata of a field that documents do not have
OMITTED = {"document": False}


def rounded(digits: int) -> dict[str, int]:
    """Metadata of a number that documents have with so many digits behind the point."""
    return {"digits": digits}


class Document:
    """A dataclass that is a document, but for fields that are `OMITTED`."""

    def to_dict(self) -> dict[str, Any]:
        """The value as `--json` prints it, or a service answers with it."""
        return {
            field.name: _plain(getattr(self, field.name), field.metadata.get("digits"))
            for field in fields_of(type(self))
        }


def fields_of(kind: type[Any]) -> list[dataclasses.Field[Any]]:
    """The fields of a class that its document has."""
    return [one for one in dataclasses.fields(kind) if one.metadata.get("document", True)]


def _plain(value: Any, digits: int | None = None) -> Any:
    if isinstance(value, float) and digits is not None:
        return round(value, digits)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value.to_dict() if hasattr(value, "to_dict") else value
