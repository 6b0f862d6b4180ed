"""Shows what a sweep does, until its output is closed; the sweep goes on without."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.values.trial import Trial


class Observer:
    """Called in the driver's thread when something happens, to read it; this one shows nothing."""

    def started(self, state: SweepState) -> None:
        """The sweep's run is there, and its trials begin."""

    def update(self, state: SweepState) -> None:
        """Something has changed, or a quarter of a second has passed."""

    def trial_ended(self, progress: Trial, state: SweepState) -> None:
        """A trial has ended."""

    def said(self, text: str) -> None:
        """A line for people, before, while or after the sweep runs."""

    def ended(self, state: SweepState) -> None:
        """The sweep has ended, with or without success; the last call of all."""


SILENT = Observer()


class Viewer:
    """Forwards calls to an observer; after a broken pipe, only `ended`."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._has_reader = True

    def started(self, state: SweepState) -> None:
        self._show(self._observer.started, state)

    def update(self, state: SweepState) -> None:
        self._show(self._observer.update, state)

    def trial_ended(self, trial: Trial, state: SweepState) -> None:
        self._show(self._observer.trial_ended, trial, state)

    def said(self, text: str) -> None:
        self._show(self._observer.said, text)

    def ended(self, state: SweepState) -> None:
        with contextlib.suppress(OSError, SystemExit):
            self._observer.ended(state)

    def _show(self, call: Callable[..., None], *what: Any) -> None:
        if self._has_reader:
            try:
                call(*what)
            except (OSError, SystemExit):  # Rich turns a broken pipe into an exit
                self._has_reader = False
