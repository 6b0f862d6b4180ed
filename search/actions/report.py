"""The report of a sweep as a page in a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lstm_sweep.search.actions.references import Here, store_of_sweep
from lstm_sweep.search.driver.report import read_report
from lstm_sweep.search.process.files import new_report, write_report
from lstm_sweep.search.report import report_page
from lstm_sweep.search.report.findings import Findings
from lstm_sweep.search.store import reader


@dataclass(frozen=True, kw_only=True)
class SweepReport:
    """The report of a sweep."""

    sweep: str
    run_id: str
    state: str
    #: the best trial and its loss, a sentence
    headline: str
    #: the page, which loads nothing from elsewhere
    html: str
    #: the file that it was written to; None if to none
    file: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The report as `report --json` prints it."""
        return {
            "sweep": self.sweep,
            "run_id": self.run_id,
            "state": self.state,
            "report": self.file,
        }


@dataclass(frozen=True, kw_only=True)
class FullReport(SweepReport):
    """The report of a sweep whose store is at hand."""

    #: all that it shows, as values
    findings: Findings


def report(here: Here, name: str, to: str | None = None) -> FullReport:
    """The report of a sweep as it is now, be it finished or not; written to the file `to` if given.

    A report that is there is replaced; another file is not.

    Raises:
        InputError: there is no such sweep, it cannot be read, or the file cannot be written.
    """
    file = None if to is None else new_report(to)
    store = store_of_sweep(name, here.settings)
    found, html = read_report(store, reader.existing_sweep(store, name))
    if file:
        write_report(file, html)
    return FullReport(
        sweep=found.sweep,
        run_id=found.run_id,
        state=found.state,
        headline=report_page.headline(found),
        html=html,
        file=None if file is None else str(file),
        findings=found,
    )
