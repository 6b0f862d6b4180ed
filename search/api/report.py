"""The report of a sweep as a page in a file."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lstm_sweep.models.errors import InputError, cut, shown
from lstm_sweep.models.wording import option, worded
from lstm_sweep.search.api.references import store_of_sweep
from lstm_sweep.search.pages import answer
from lstm_sweep.search.pages.findings import Findings
from lstm_sweep.search.pages.report_page import MARK
from lstm_sweep.search.store import archive
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.sweep.stored_report import read_report

#: bytes at the beginning of a file by which a report is known
HEAD = 500


@dataclass(frozen=True)
class SweepReport:
    """The report of a sweep."""

    #: all that it shows, as values
    findings: Findings
    #: the page, which loads nothing from elsewhere
    html: str
    #: the file that it was written to; None if to none
    file: str | None = None

    @property
    def headline(self) -> str:
        """The best trial and its loss, a sentence."""
        return answer.headline(self.findings)

    def to_dict(self) -> dict[str, Any]:
        """The report as `report --json` prints it."""
        return {
            "sweep": self.findings.sweep,
            "run_id": self.findings.run_id,
            "state": self.findings.state,
            "report": self.file,
        }


def report(name: str, *, settings: Settings, to: str | None = None) -> SweepReport:
    """The report of a sweep as it is now, be it finished or not; written to the file `to` if given.

    A report that is there is replaced; another file is not.

    Raises:
        InputError: there is no such sweep, it cannot be read, or the file cannot be written.
    """
    file = None if to is None else _new_file(to)
    store = store_of_sweep(name, settings)
    found, html = read_report(store, archive.existing_sweep(store, name))
    if file:
        _write(file, html)
    return SweepReport(found, html, None if file is None else str(file))


def _new_file(given: str) -> Path:
    """The absolute path of a file that a report may become.

    Raises:
        InputError: it is a folder, another file, or cannot be.
    """
    try:
        file = Path(given).expanduser().resolve()
        why = _against(file) if given else "found nothing"
    except (OSError, RuntimeError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or cut(str(error))
    if why:
        where = worded(option("to"), f" {shown(given)}")
        raise InputError(where, f": {why}, expected a new file, or a report to replace")
    return file


def _against(file: Path) -> str:
    """Why a report cannot be written there; empty if it can."""
    if file.is_dir():
        return "found a folder"
    if not file.parent.is_dir():
        return f"{file.parent} is no folder"
    if not file.exists():
        return ""
    if file.is_file():
        with file.open("rb") as opened:
            if MARK.encode() in opened.read(HEAD):
                return ""
    return "found something else there"


def _write(file: Path, html: str) -> None:
    """Write a file that is whole or not there at all."""
    try:
        with tempfile.TemporaryDirectory(prefix=".report-", dir=file.parent) as folder:
            partial = Path(folder) / "report.html"
            partial.write_text(html, encoding="utf-8")
            partial.replace(file)
    except OSError as error:
        raise InputError(
            option("to"), f" {shown(str(file))}: {error.strerror}, expected a file to write"
        ) from None
