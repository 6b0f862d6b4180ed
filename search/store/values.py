"""Values as the databases behind MLflow keep them."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

from lstm_sweep.models.errors import InputError, shown


def storable(values: Mapping[str, Any]) -> dict[str, str]:
    """Values as texts that every database holds: PostgreSQL has none with a null character."""
    return {key: str(value).replace("\0", "\\0") for key, value in values.items()}


def quoted(value: str) -> str:
    """A text as a filter of MLflow takes it: in either kind of quotes, with nothing escaped.

    Raises:
        InputError: it has both kinds.
    """
    if "'" in value and '"' in value:
        raise InputError(f"{shown(value)} has both kinds of quotes: expected one of them at most")
    mark = '"' if "'" in value else "'"
    return f"{mark}{value}{mark}"


def read_back(value: float) -> float:
    """A metric as it was logged: databases store infinity as the largest float."""
    infinite = abs(value) >= sys.float_info.max
    return math.copysign(math.inf, value) if infinite else value
