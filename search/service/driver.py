"""The driver of a sweep that a service starts: `python -m ... RUN FILE [ENGINE]`.

The service has locked FILE, and the process keeps that lock as long as it lives: so there is one
driver for each sweep, and whoever started it can be another process by now. It drives the sweep on
ENGINE in place of that of the sweep; what it says goes to standard output, which is a log.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

from typing_extensions import override

from lstm_sweep.models.errors import InputError, NoRoomError
from lstm_sweep.search.driver.observer import Observer
from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.process.signals import Interrupted, Shield, stop_within_s
from lstm_sweep.search.service.supervisor import KEY, write_note
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.values.trial import Trial

#: exit codes: done, interrupted or not possible, and anything else
DONE, FAILED = 0, 1


class Log(Observer):
    """Writes lines with the time, and notes how far the sweep is in the file that is locked."""

    def __init__(self, file: Path) -> None:
        self._descriptor, self._noted = os.open(file, os.O_WRONLY | os.O_CLOEXEC), (0, 0)
        self._note()

    def _note(self) -> None:
        with contextlib.suppress(OSError):
            write_note(self._descriptor, os.getpid(), self._noted)

    @override
    def update(self, state: SweepState) -> None:
        reached = len(state.finished), sum(len(one.rounds) for one in state.under_way)
        if reached > self._noted:
            self._noted = reached
            self._note()

    @override
    def trial_ended(self, progress: Trial, state: SweepState) -> None:
        ended = progress.ended
        self.said(f"{progress.id} {ended.outcome if ended else ''}")

    def said(self, text: str) -> None:
        """Print a text with the time, without secrets."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        print(f"{now} {without_secrets(text)}", flush=True)


def main(run_id: str, file: Path, on: str | None = None) -> int:
    """Drive a sweep to its end; return the exit code."""
    shield, log = Shield(stop_within_s()), Log(file)
    try:
        with shield.up():
            _drive(run_id, log, shield, on, file.with_name(KEY))
    except Interrupted:
        log.said("interrupted")
    except (StoreError, NoRoomError) as error:
        log.said(str(error))
        return FAILED
    return DONE


def _drive(run_id: str, log: Log, shield: Shield, on: str | None, key: Path) -> None:
    from lstm_sweep.search.actions import lifecycle
    from lstm_sweep.search.actions.references import SweepRunsError
    from lstm_sweep.search.service import queue
    from lstm_sweep.search.store.settings import load
    from lstm_sweep.search.store.tags import Signer
    from lstm_sweep.search.store.tracking import MlflowStore

    store = MlflowStore(load(Path.cwd()))
    store.signer = Signer.of(key)
    # what is driven is what was signed, so all is taken from the run as it is read here
    run = store.run(run_id)
    waiting = queue.read([run] if queue.is_queued(store, run) else [])
    if not waiting:
        log.said(f"run {run_id} is not queued any more")
        return
    [job] = waiting
    try:
        changes = {**job.changes} | ({"on": on} if on else {})
        result = lifecycle.go_on(store, run, changes, observer=log, interrupts=shield)
        log.said(f"sweep '{job.name}': {result.state}; {result.why}")
    except SweepRunsError as error:
        log.said(str(error))
    except InputError as error:
        log.said(str(error))
        now = queue.read([store.run(run_id)])
        if now and now[0].driver is None:
            queue.give_up(store, run_id, str(error))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:4]))
