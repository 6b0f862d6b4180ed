"""`Service`: sweeps that a service runs; `connect` returns one."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Unpack

from lstm_sweep._launch import SweepFields, launch_by, prune_by, sweeps_of
from lstm_sweep._sweep import Sweep

if TYPE_CHECKING:
    import pandas as pd

    from lstm_sweep.search.actions.remote import Remote


def connect(url: str, *, token: str | None = None) -> Service:
    """A service, which runs sweeps that are launched with it, and shows those of its store.

    Nothing is asked of it before one of its methods is called.

    Args:
        url: its address, such as `http://host:8000`
        token: for a service that wants one; by default what the variable LSTM_SWEEP_TOKEN says

    Raises:
        InputError: this is no address, or no token
    """
    from lstm_sweep.search.actions.connection import TOKEN, Connection, check_address
    from lstm_sweep.search.actions.remote import Remote

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    given = os.environ.get(TOKEN, "") if token is None else token
    return Service(Remote(Connection(check_address(url, "url"), given, say=say)))


class Service:
    """Sweeps that a service runs, with the functions of this package for its store.

    Each may raise `StoreError` if the service does not answer for a while.
    """

    def __init__(self, actions: Remote) -> None:
        self._actions = actions

    def __repr__(self) -> str:
        return f"<Service {self._actions}>"

    def launch(self, *, progress: bool | None = None, **fields: Unpack[SweepFields]) -> Sweep:
        """Send a sweep with its data, wait for its end, and return it; as `lstm_sweep.launch`.

        Ctrl-C ends the waiting alone; `sweep(NAME).stop()` ends the sweep.
        """
        return launch_by(self._actions, fields, progress)

    def sweep(self, name: str) -> Sweep:
        """The sweep of this name; as `lstm_sweep.sweep`."""
        found = Sweep(name, self._actions)
        found.status()
        return found

    def sweeps(self) -> pd.DataFrame:
        """All sweeps, the newest first; as `lstm_sweep.sweeps`."""
        return sweeps_of(self._actions)

    def prune(
        self, *, older_than_days: float, keep_best: bool = False, dry_run: bool = False
    ) -> pd.DataFrame:
        """Delete sweeps of yours that ended long ago; as `lstm_sweep.prune`."""
        return prune_by(self._actions, older_than_days, keep_best=keep_best, dry_run=dry_run)
