"""Refusals that a program may want to tell apart; all others are `InputError` or `StoreError`."""

from __future__ import annotations

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.api.sweep_result import SweepResult
from lstm_sweep.search.store.faults import StoreError


class SweepExistsError(InputError):
    """A sweep of this name is in the store."""


class SweepRunsError(InputError):
    """Another process drives the sweep."""


class DifferentSearchError(InputError):
    """A sweep was to be resumed with the spec of another search."""


class SweepFailedError(StoreError):
    """The store has failed while a sweep ran; `result` is that of the sweep."""

    def __init__(self, message: str, result: SweepResult) -> None:
        super().__init__(message)
        self.result = result
