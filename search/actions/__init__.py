"""What can be done with sweeps, here or by a service, with the same values and the same errors."""

from __future__ import annotations

from typing import TypeAlias

from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.actions.remote import Remote

__all__ = ["Actions", "Local", "Remote"]

#: what commands and the Python API call
Actions: TypeAlias = Local | Remote
