"""Values as the databases behind MLflow keep them."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any


def storable(values: Mapping[str, Any]) -> dict[str, str]:
    """Values as texts that every database holds: PostgreSQL has none with a null character."""
    return {key: str(value).replace("\0", "\\0") for key, value in values.items()}


def read_back(value: float) -> float:
    """A metric as it was logged: databases store infinity as the largest float."""
    infinite = abs(value) >= sys.float_info.max
    return math.copysign(math.inf, value) if infinite else value
