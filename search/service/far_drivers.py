"""Drivers on other machines: whether they live, by their leases."""

from __future__ import annotations

from lstm_sweep.search.sweep.lease import STALE_S, Holder


class FarDrivers:
    """The leases of drivers on other machines, as they were seen at each look."""

    def __init__(self) -> None:
        #: the last renewal of the lease of each sweep, by its run, and when it was seen first
        self._beats: dict[str, tuple[int, float]] = {}

    def lives(self, run_id: str, driver: Holder, now: float) -> bool:
        """Whether a driver has renewed its lease of late; `now` is in seconds of any clock."""
        beat, since = self._beats.get(run_id, (-1, now))
        if beat != driver.beat:
            since = now
        self._beats[run_id] = (driver.beat, since)
        return now - since < STALE_S
