"""Refusals that a program may want to tell apart; all others are `InputError` or `StoreError`."""

from __future__ import annotations

from lstm_sweep.models.errors import InputError


class SweepExistsError(InputError):
    """A sweep of this name is in the store."""


class SweepRunsError(InputError):
    """Another process drives the sweep."""


class DifferentSearchError(InputError):
    """A sweep was to be resumed with the spec of another search."""
