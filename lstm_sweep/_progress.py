"""Where the progress of a sweep is shown: in a notebook, on standard error, or nowhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lstm_sweep.search.driver.observer import Observer


def observer_of(progress: bool | None) -> Observer:
    """What shows progress: a notebook's table, lines on standard error, or nothing.

    `progress` None means that it is shown in a notebook alone.
    """
    from lstm_sweep.search.driver.observer import SILENT

    notebook = in_notebook()
    if not (notebook if progress is None else progress):
        return SILENT
    if notebook:
        from lstm_sweep._notebook import NotebookTable

        return NotebookTable()
    from lstm_sweep.search.cli.progress import Lines, open_console

    return Lines(open_console(stderr=True))


def in_notebook() -> bool:
    """Whether this is the kernel of a notebook; IPython in a terminal is none."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None
