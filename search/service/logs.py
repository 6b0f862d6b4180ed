"""What a service says of itself: errors, in logs that do not grow without bound, and figures."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

#: seconds between two lines that say the same
SELDOM_S = 60.0
#: bytes of a log after which it is begun anew; the one before it is kept as `NAME.old`
LOG_BYTES = 16 << 20

log = logging.getLogger("lstm_sweep.service")


class Seldom:
    """Logs what may happen often at most once a minute; lines are told apart by a key."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}

    def error(self, key: str, text: str) -> None:
        """Log an error unless it was logged just now; keys are few."""
        with self._lock:
            now = self._clock()
            if now - self._last.get(key, -SELDOM_S) < SELDOM_S:
                return
            self._last[key] = now
        log.error("%s", text)


def old_of(file: Path) -> Path:
    """Where what was in a log before it was begun anew is kept."""
    return file.with_name(f"{file.name}.old")


def last_line(file: Path) -> str:
    with contextlib.suppress(OSError), file.open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - 10_000))
        lines = log.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else ""
    return ""


def rotate(file: Path, most: int = LOG_BYTES) -> None:
    """Begin a log anew that has become too large; nobody else has it open."""
    with contextlib.suppress(FileNotFoundError):
        if file.stat().st_size >= most:
            file.replace(old_of(file))


def cut_open_log(file: Path, most: int = LOG_BYTES) -> None:
    """Begin a log anew that a process has open to append to; the last half of it is kept.

    What the process writes just then may be lost.
    """
    with contextlib.suppress(OSError), file.open("r+b") as opened:
        if opened.seek(0, os.SEEK_END) < most:
            return
        opened.seek(-most // 2, os.SEEK_END)
        kept = old_of(file)
        kept.touch(mode=0o600)
        kept.write_bytes(opened.read())
        opened.truncate(0)


BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
#: methods of requests that are told apart; clients may make up others
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
#: what the service does just now: what each figure says, and what its values are told apart by
FIGURES: Mapping[str, tuple[str, ...]] = {
    "sweeps": ("Sweeps that wait or run, by state", "state"),
    "slots": ("Slots that sweeps have, and want", "what"),
    "listeners": ("Open streams of events",),
    "oldest_wait_seconds": ("Time since the oldest sweep without a slot was submitted",),
    "driver_deaths": (
        "Drivers that have ended before their sweeps, since the service was started",
    ),
    "failed_looks": ("Looks at the queue that have failed, since the service was started",),
    "store_seconds": ("Time that the last look at the queue took to read the store",),
    "ready": ("1 if the service takes sweeps",),
}


class Metrics:
    """Counts requests, and tells figures in the text format of Prometheus."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "lstm_sweep_requests", "Requests that were answered", ["method", "route", "status"],
            registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "lstm_sweep_request_seconds", "Time from a request to the end of its answer", ["route"],
            buckets=BOUNDS_S, registry=self._registry,
        )  # fmt: skip
        ProcessCollector(registry=self._registry)  # memory, processor and open descriptors
        self._figures = {
            name: Gauge(f"lstm_sweep_{name}", about, labels, registry=self._registry)
            for name, (about, *labels) in FIGURES.items()
        }

    def note(self, method: str, route: str, status: int, seconds: float) -> None:
        known = method if method in METHODS else "other"
        self._requests.labels(known, route, str(status)).inc()
        if not route.endswith("/events"):  # which takes as long as somebody listens
            self._seconds.labels(route).observe(seconds)

    def text(self, figures: Mapping[str, float | Mapping[str, float]]) -> bytes:
        for name, value in figures.items():
            if isinstance(value, Mapping):
                for label, one in value.items():
                    self._figures[name].labels(label).set(one)
            else:
                self._figures[name].set(value)
        return generate_latest(self._registry)
