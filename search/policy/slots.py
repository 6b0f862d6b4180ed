"""`Slots`: how many trials of a sweep may run at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Slots:
    """How many trials may run at once by now, 1 or more.

    The search reads it, and what confirms the best; a ladder stays as long as it was at first.
    Whoever drives the sweep keeps it up to date: other sweeps come and go, and so do nodes.
    """

    count: int
