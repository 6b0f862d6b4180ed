from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lstm_sweep.search import api
from tests.service_app import API, Place, use_scripted_engines


def test_a_report_is_a_page_that_runs_nothing(
    workplace: Callable[[str], Path], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_scripted_engines(monkeypatch)
    place = Place.in_folder(workplace("reports"))
    place.launch(data)
    with place.client() as client:
        answer = client.get(f"{API}/sweeps/s/report")
        missing = client.get(f"{API}/sweeps/none/report")
    found = api.report("s", settings=place.service.settings.store)
    cut = found.html.index("<footer>")
    assert answer.text[:cut] == found.html[:cut]
    about = json.loads(answer.headers["Lstm-Sweep-Report"])
    expected = found.to_dict() | {"headline": found.headline}
    assert about == {name: expected[name] for name in expected if name != "report"}
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src" not in policy
    assert (missing.status_code, missing.headers["content-type"]) == (
        404,
        "application/problem+json",
    )
