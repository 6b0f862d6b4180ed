"""The driver of one sweep of a service, as a process: `python -m ... NAME FILE [ENGINE]`.

It locks FILE as long as it lives, so that there is one driver of a sweep and whoever started it can
be another process by now. What it says goes to standard output, which is a log. With ENGINE trials
run on that, whatever the sweep says.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import sys
import time
from pathlib import Path

from typing_extensions import override

from lstm_sweep.models.errors import InputError, NoRoomError
from lstm_sweep.search.process.leaving import leave
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.process.signals import Interrupted, Shield, stop_within_s
from lstm_sweep.search.process.whole_files import replace_text
from lstm_sweep.search.progress import TrialProgress
from lstm_sweep.search.service.runner import PROGRESS
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.sweep.observer import Silent
from lstm_sweep.search.sweep.state import SweepState

#: exit codes: done or interrupted, what was asked for cannot be, anything else
DONE, REFUSED, FAILED = 0, 2, 1
#: seconds between two notes of how far the sweep is
NOTE_EVERY_S = 1.0


class Log(Silent):
    """Writes lines with the time, and notes in a file how far the sweep is."""

    def __init__(self, progress: Path | None = None) -> None:
        self._progress, self._noted, self._noted_at = progress, (0, 0), -math.inf

    @override
    def update(self, state: SweepState) -> None:
        """Note the number of trials that have ended, and of rounds of the others."""
        now = time.monotonic()
        if self._progress is None or now - self._noted_at < NOTE_EVERY_S:
            return
        reached = len(state.finished), sum(len(one.rounds) for one in state.under_way)
        if reached > self._noted:
            self._noted, self._noted_at = reached, now
            with contextlib.suppress(OSError):
                replace_text(self._progress, f"{reached[0]} {reached[1]}")

    @override
    def trial_ended(self, progress: TrialProgress, state: SweepState) -> None:
        """Print the outcome of a trial."""
        ended = progress.ended
        self.said(f"{progress.trial.id} {ended.outcome if ended else ''}")

    def said(self, text: str) -> None:
        """Print a text with the time, without secrets."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        print(f"{now} {without_secrets(text)}", flush=True)


def main(name: str, file: Path, on: str | None = None) -> int:
    """Drive a sweep to its end; return the exit code."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not _locked(descriptor):
        return DONE  # another one drives it
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    shield, log = Shield(stop_within_s()), Log(file.with_suffix(PROGRESS))
    try:
        with shield.up():
            _drive(name, log, shield, on)
    except Interrupted:
        log.said("interrupted")
    except (StoreError, NoRoomError) as error:
        log.said(str(error))
        return FAILED
    return DONE


def _locked(descriptor: int) -> bool:
    """Lock a file; a service that looks whether it is locked locks it too, for a moment."""
    for _ in range(20):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return True
    return False


def _drive(name: str, log: Log, shield: Shield, on: str | None) -> None:
    from lstm_sweep.search.api import lifecycle, queue
    from lstm_sweep.search.api.errors import SweepRunsError
    from lstm_sweep.search.store.settings import load
    from lstm_sweep.search.store.tracking import Store

    settings = load(Path.cwd())
    store = Store(settings)
    waiting = next((one for one in queue.queued(store) if one.name == name), None)
    if waiting is None:
        log.said(f"sweep '{name}' is not queued any more")
        return
    try:
        changes = {**waiting.changes} | ({"on": on} if on else {})
        result = lifecycle.resume(name, changes, settings=settings, observer=log, interrupts=shield)
        log.said(f"sweep '{name}': {result.state}; {result.why}")
    except SweepRunsError as error:
        log.said(str(error))
    except InputError as error:
        log.said(str(error))
        now = next((one for one in queue.queued(store) if one.name == name), None)
        if now and now.driver is None:
            queue.give_up(store, now.run_id, str(error))


if __name__ == "__main__":
    leave(main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]))
