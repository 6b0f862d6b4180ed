"""Whoever watches a sweep; it goes on when nobody does any more."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Protocol

from lstm_sweep.search.sweep.state import SweepState
from lstm_sweep.search.trial import TrialProgress


class Observer(Protocol):
    """Is told what a sweep does, in the thread that drives it; it only reads what it is given."""

    def started(self, state: SweepState) -> None:
        """The sweep's run is there, and its trials begin."""

    def update(self, state: SweepState) -> None:
        """Something has changed, or a quarter of a second has passed."""

    def trial_ended(self, progress: TrialProgress, state: SweepState) -> None:
        """A trial has ended."""

    def said(self, text: str) -> None:
        """A line for people, before, while or after the sweep runs."""

    def ended(self, state: SweepState) -> None:
        """The sweep has ended, however it has; nothing is told after that."""


class Silent:
    """An observer that shows nothing."""

    def started(self, state: SweepState) -> None:
        """Show nothing."""

    def update(self, state: SweepState) -> None:
        """Show nothing."""

    def trial_ended(self, progress: TrialProgress, state: SweepState) -> None:
        """Show nothing."""

    def said(self, text: str) -> None:
        """Show nothing."""

    def ended(self, state: SweepState) -> None:
        """Show nothing."""


SILENT = Silent()


class Viewer:
    """Passes on to an observer, until it fails since nobody reads any more."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._watched = True

    def started(self, state: SweepState) -> None:
        """The sweep's run is there, and its trials begin."""
        self._show(lambda: self._observer.started(state))

    def update(self, state: SweepState) -> None:
        """Something has changed, or time has passed."""
        self._show(lambda: self._observer.update(state))

    def trial_ended(self, progress: TrialProgress, state: SweepState) -> None:
        """A trial has ended."""
        self._show(lambda: self._observer.trial_ended(progress, state))

    def said(self, text: str) -> None:
        """A line for people."""
        self._show(lambda: self._observer.said(text))

    def ended(self, state: SweepState) -> None:
        """The sweep has ended; this is told even if nobody reads any more."""
        with contextlib.suppress(OSError, SystemExit):
            self._observer.ended(state)

    def _show(self, call: Callable[[], None]) -> None:
        if self._watched:
            try:
                call()
            except (OSError, SystemExit):  # Rich turns a broken pipe into an exit
                self._watched = False
