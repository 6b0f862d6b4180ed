from __future__ import annotations

import re

from lstm_sweep.search.service.metrics import Metrics


def test_methods_that_clients_make_up_are_counted_as_one() -> None:
    metrics = Metrics()
    for method in ("GET", "PATCH", *(f"MADE{n}" for n in range(50))):
        metrics.note(method, "/", 404, 0.1)
    text = metrics.text([], [], listeners=0, is_ready=True).decode()
    found = dict(re.findall(r'requests_total{method="(\w+)".*} (\d+)', text))
    assert found == {"GET": "1", "PATCH": "1", "other": "50"}
