"""A sweep that is sent to the head of a Ray cluster, and followed until it has ended there."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lstm_sweep.models.errors import InputError, escaped

if TYPE_CHECKING:
    from lstm_sweep.search.api.job_files import JobFiles
    from lstm_sweep.search.process.interrupts import Interrupts
    from lstm_sweep.search.store.settings import Settings

#: how lines begin that the command has printed about itself
OWN = "lstm-sweep: "
#: exit code of the command that refuses what it was given
REFUSED = 2


@dataclass(frozen=True)
class SentSweep:
    """A sweep that has ended on a cluster, whose runs are closed."""

    sweep: str
    left_open: bool = False


@dataclass
class _Listener:
    """What a job prints: to standard error if it `shows` it."""

    shows: bool
    #: what the command said last of itself
    last: str = ""

    def printed(self, line: str) -> None:
        """Keep a line of the command about itself."""
        if line.startswith(OWN):
            self.last = line.removeprefix(OWN)
        self._show(line)

    def said(self, text: str) -> None:
        """Show a line about the job."""
        self._show(OWN + text)

    def stopping(self) -> None:
        """Show that the job is told to end."""
        self._show(f"{OWN}stopping the job, which closes its runs")

    def _show(self, line: str) -> None:
        if self.shows:
            print(escaped(line, "\t"), file=sys.stderr, flush=True)


def run_there(
    files: JobFiles, head: str, settings: Settings, interrupts: Interrupts, *, progress: bool
) -> SentSweep:
    """Run a command on a head to its end; its lines go to standard error if `progress`.

    Raises:
        InputError: the head, the token, the store, the data or the command itself is refused.
        JobNotSubmittedError: `interrupts` wanted an end before the head had taken the command.
        StoreError: the head was lost, or the sweep has failed there in a way that leaves no result.
    """
    from lstm_sweep.search.api import cluster
    from lstm_sweep.search.api.errors import JobLostError
    from lstm_sweep.search.store.faults import StoreError

    listener = _Listener(progress)
    job = cluster.submit(
        files, head, settings=settings, observer=listener, as_json=True, interrupts=interrupts
    )
    try:
        ended = cluster.follow(job, observer=listener, interrupts=interrupts)
    except JobLostError as error:
        raise StoreError(f"cluster {head}: {error}") from None
    if ended.document is not None:
        return SentSweep(str(json.loads(ended.document)["sweep"]))
    code = ended.state.exit_code
    why = listener.last or ended.state.message.strip() or f"it has ended with code {code}"
    if code == REFUSED and listener.last:
        raise InputError(f"cluster {head}: {why}")
    raise StoreError(f"cluster {head}: the job {job.name} has no result: {why}")
