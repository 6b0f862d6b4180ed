"""Refusals that a program may want to tell apart.

All others are `InputError`, `StoreError`, or `NoRoomError` if this machine has no room to work.
"""

from __future__ import annotations

from collections.abc import Mapping

from lstm_sweep.models.errors import InputError, NoRoomError
from lstm_sweep.search.store.faults import BadRunError, NoSuchRunError, StoreError


class SweepExistsError(InputError):
    """A sweep of this name is in the store."""


class SweepRunsError(InputError):
    """Another process drives the sweep."""


class DifferentSearchError(InputError):
    """A sweep was to be resumed with the spec of another search."""


class NothingToDoError(InputError):
    """A sweep that has ended was to go on, but has spent all that it may."""


class QueueFullError(InputError):
    """A user has as many sweeps in the queue of a service as one user may."""


class ServiceEndsError(Exception):
    """A service ends just now, and takes no more requests."""


#: kinds of refusals, by the name that a service gives to each in its problem documents
NAMED: Mapping[str, type[Exception]] = {
    "not-found": NoSuchRunError,
    "sweep-exists": SweepExistsError,
    "sweep-runs": SweepRunsError,
    "different-search": DifferentSearchError,
    "nothing-to-do": NothingToDoError,
    "queue-full": QueueFullError,
    "ending": ServiceEndsError,
    "unreadable-run": BadRunError,
    "store": StoreError,
    "disk": NoRoomError,
    "input": InputError,
}
