"""Whoever watches a sweep; it goes on when nobody does any more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from lstm_sweep.search.sweep.state import SweepState
from lstm_sweep.search.trial import TrialProgress


class Display(Protocol):
    """Shows a sweep while it runs."""

    def update(self, state: SweepState) -> None:
        """Something has changed, or time has passed."""

    def trial_ended(self, progress: TrialProgress, state: SweepState) -> None:
        """A trial has ended."""

    def say(self, text: str) -> None:
        """A line for people."""


class Viewer:
    """A display that falls silent, instead of failing, once nobody reads any more."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._watched = True

    def update(self, state: SweepState) -> None:
        """Something has changed, or time has passed."""
        self._show(lambda: self._display.update(state))

    def trial_ended(self, progress: TrialProgress, state: SweepState) -> None:
        """A trial has ended."""
        self._show(lambda: self._display.trial_ended(progress, state))

    def say(self, text: str) -> None:
        """A line for people."""
        self._show(lambda: self._display.say(text))

    def _show(self, call: Callable[[], None]) -> None:
        if self._watched:
            try:
                call()
            except (OSError, SystemExit):  # Rich turns a broken pipe into an exit
                self._watched = False
