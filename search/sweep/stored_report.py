"""The report of a sweep, from what the store has of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from lstm_sweep.search.pages.findings import Findings
from lstm_sweep.search.pages.report_page import report_page
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.sweep.stored_findings import read_findings

#: name of the report among the files of a sweep's run
REPORT = "report.html"


def keep_report(store: Store, run_id: str, matters: Mapping[str, float] | None) -> None:
    """Store the report of a sweep with its run; `matters` as for `read_findings`."""
    found = read_findings(store, store.run(run_id), matters or {})
    store.keep_text(run_id, page_of(found), REPORT)


def read_report(store: Store, run: Any) -> tuple[Findings, str]:
    """What there is of a sweep, and the page that shows it.

    Raises:
        BadRunError: the run of the sweep cannot be read.
    """
    found = read_findings(store, run)
    return found, page_of(found)


def page_of(found: Findings) -> str:
    """The report as an HTML page that says when it was written; without secrets."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    version = metadata.version("lstm-sweep")
    return without_secrets(report_page(found, f"Written by lstm-sweep {version} on {now}."))
