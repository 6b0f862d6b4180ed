from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from lstm_sweep.search.service.metrics import Metrics
from lstm_sweep.search.service.queue import QueuedSweep
from lstm_sweep.search.service.service import Figures


def test_methods_that_clients_make_up_are_counted_as_one() -> None:
    metrics = Metrics()
    for method in ("GET", "PATCH", *(f"MADE{n}" for n in range(50))):
        metrics.note(method, "/", 404, 0.1)
    text = metrics.text([], [], listeners=0, is_ready=True, figures=Figures()).decode()
    found = dict(re.findall(r'requests_total{method="(\w+)".*} (\d+)', text))
    assert found == {"GET": "1", "PATCH": "1", "other": "50"}


def test_an_operator_sees_deaths_failures_the_store_and_how_long_the_oldest_waits() -> None:
    now = datetime.now(UTC)
    queue = [
        QueuedSweep(
            sweep=name, run_id=name, owner="ann", priority=0, slots=slots,
            submitted=now - timedelta(hours=hours), wanted=1, driver=None, why="",
        )
        for name, hours, slots in (("a", 9, 1), ("b", 2, 0), ("c", 1, 0))
    ]  # fmt: skip
    figures = Figures(driver_deaths=3, failed_looks=2, store_s=0.25)
    text = Metrics().text([], queue, listeners=0, is_ready=True, figures=figures).decode()
    found = dict(re.findall(r"^(\w+) (\S+)$", text, re.MULTILINE))
    assert 7200 <= float(found["lstm_sweep_oldest_wait_seconds"]) < 7300
    assert float(found["lstm_sweep_driver_deaths"]) == 3
    assert float(found["lstm_sweep_failed_looks"]) == 2
    assert float(found["lstm_sweep_store_seconds"]) == 0.25
    assert float(found["process_open_fds"]) > 2
