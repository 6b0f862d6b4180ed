"""Figures of the service in the text format of Prometheus."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Iterable
from datetime import UTC, datetime

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from lstm_sweep.search.service.queue import QueuedSweep
from lstm_sweep.search.service.service import Figures

MEDIA = CONTENT_TYPE_PLAIN_0_0_4
#: upper bounds of the times of answers, seconds
BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
#: methods of requests that are told apart; clients may make up others
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
#: states of sweeps that are always told, be it 0
STATES = ("queued", "running")


class Metrics:
    """Counts requests, and tells what the service does just now."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "lstm_sweep_requests",
            "Requests that were answered",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "lstm_sweep_request_seconds",
            "Time from a request to the end of its answer",
            ["route"],
            buckets=BOUNDS_S,
            registry=self._registry,
        )
        self._sweeps = Gauge(
            "lstm_sweep_sweeps",
            "Sweeps that wait or run, by state",
            ["state"],
            registry=self._registry,
        )
        self._slots = Gauge(
            "lstm_sweep_slots", "Slots that sweeps have, and want", ["what"],
            registry=self._registry,
        )  # fmt: skip
        self._listeners = Gauge(
            "lstm_sweep_listeners", "Open streams of events", registry=self._registry
        )
        self._oldest = Gauge(
            "lstm_sweep_oldest_wait_seconds",
            "Time since the oldest sweep without a slot was submitted",
            registry=self._registry,
        )
        self._deaths = Gauge(
            "lstm_sweep_driver_deaths",
            "Drivers that have ended before their sweeps, since the service was started",
            registry=self._registry,
        )
        self._failed_looks = Gauge(
            "lstm_sweep_failed_looks",
            "Looks at the queue that have failed, since the service was started",
            registry=self._registry,
        )
        self._store = Gauge(
            "lstm_sweep_store_seconds",
            "Time that the last look at the queue took to read the store",
            registry=self._registry,
        )
        ProcessCollector(registry=self._registry)  # memory, processor and open descriptors
        self._ready = Gauge(
            "lstm_sweep_ready", "1 if the service takes sweeps", registry=self._registry
        )

    def note(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        known = method if method in METHODS else "other"
        self._requests.labels(known, route, str(status)).inc()
        if not route.endswith("/events"):  # which takes as long as somebody listens
            self._seconds.labels(route).observe(seconds)

    def text(
        self,
        states: Iterable[str],
        queue: Iterable[QueuedSweep],
        *,
        listeners: int,
        is_ready: bool,
        figures: Figures,
    ) -> bytes:
        """All figures; `states` are those of the sweeps of the queue."""
        counts = Counts(states)
        for state in {*STATES, *counts}:
            self._sweeps.labels(state).set(counts[state])
        waiting = list(queue)
        self._slots.labels("held").set(sum(one.slots for one in waiting))
        self._slots.labels("wanted").set(sum(one.wanted for one in waiting))
        self._listeners.set(listeners)
        self._ready.set(is_ready)
        now = datetime.now(UTC)
        waits = [(now - one.submitted).total_seconds() for one in waiting if not one.slots]
        self._oldest.set(max([0.0, *waits]))
        self._deaths.set(figures.driver_deaths)
        self._failed_looks.set(figures.failed_looks)
        self._store.set(figures.store_s)
        return generate_latest(self._registry)
