"""`launch` and `resume` on the head of a Ray cluster: what is printed, exit codes, Ctrl-C."""

from __future__ import annotations

import os
import shutil
import signal
import sys

from lstm_sweep.models.errors import escaped
from lstm_sweep.search.api import cluster
from lstm_sweep.search.api.errors import JobLostError, JobNotSubmittedError
from lstm_sweep.search.api.job_files import JobFiles
from lstm_sweep.search.commands.exits import DONE, FAILED
from lstm_sweep.search.engines.ray_jobs import JobState
from lstm_sweep.search.process.interrupts import EndRequest
from lstm_sweep.search.process.signals import Interrupted, first_noted
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.texts.terminal import plain, plain_json

#: exit code of a shell that does not find a program
NOT_FOUND = 127


def head_of(address: str | None, on: str | None) -> str | None:
    """Address of the head that a sweep is to be sent to; None if it is to run here.

    The engine finds Ray's own address of a cluster, such as `auto`, in `RAY_ADDRESS`.

    Raises:
        InputError: there can be no such address, or the engine has none.
    """
    destination = cluster.destination_of(address, on)
    if destination.ray_address is not None:
        os.environ["RAY_ADDRESS"] = destination.ray_address
    return destination.head


class JobOutput:
    """Prints what a job prints.

    What the program says about itself there (`lstm-sweep: ...`) is printed on standard error, all
    else on standard output; with `as_json` only the document that is the command's result is, and
    all else on standard error.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def printed(self, line: str) -> None:
        """Print a line of the command."""
        to_people = line.startswith("lstm-sweep: ") or self._as_json
        print(escaped(line, "\t"), file=sys.stderr if to_people else sys.stdout, flush=True)

    def said(self, text: str) -> None:
        """Print a line about the job."""
        print(f"lstm-sweep: {escaped(text)}", file=sys.stderr, flush=True)

    def stopping(self) -> None:
        """Say what goes on, and what a second Ctrl-C does."""
        self.said("stopping the job, which closes its runs; a second Ctrl-C leaves at once")

    def document(self, document: str | None) -> None:
        """Print the command's result, if there is one."""
        if document is not None:
            print(plain_json(document, sys.stdout.encoding), flush=True)


def run(files: JobFiles, settings: Settings, head: str, *, as_json: bool) -> int:
    """Run a command on a head; return its exit code.

    Raises:
        InputError: the head, the token, the store or the data cannot be used.
        Interrupted: a signal has come before the head had taken the command.
    """
    output, end = JobOutput(as_json=as_json), EndRequest()
    with first_noted(end.request):
        try:
            job = cluster.submit(
                files,
                head,
                settings=settings,
                observer=output,
                as_json=as_json,
                columns=shutil.get_terminal_size().columns,
                interrupts=end,
            )
        except JobNotSubmittedError:
            raise Interrupted(end.signal_number) from None
        output.said(f"job {job.name} on {head}; Ctrl-C stops it")
        try:
            ended = cluster.follow(job, observer=output, interrupts=end)
            output.document(ended.document)
        except JobLostError as error:
            output.said(str(error))
            return FAILED
        except KeyboardInterrupt:
            output.said(f"left; the job {job.name} ends by itself, if it was told to in time")
            return 128 + end.signal_number
        return _exit_code(ended.state, end.signal_number, output)


def _exit_code(state: JobState, signal_number: int, output: JobOutput) -> int:
    """The exit code for a job that has ended; what is wrong with it is said."""
    code = state.exit_code
    if state.status == "SUCCEEDED":
        return DONE
    if state.status == "STOPPED":
        return 128 + (signal_number or signal.SIGTERM)
    if code is None:
        lines = state.message.strip().splitlines()
        output.said(f"the job has failed: {plain(lines[-1] if lines else 'no reason is known')}")
        return FAILED
    if code == NOT_FOUND:
        output.said(
            "expected lstm-sweep to be installed on the head, and to be in Ray's PATH there"
        )
        return FAILED
    if code < 0:
        killed_by = signal.Signals(-code).name
        output.said(f"the sweep's process was killed by {killed_by}; `resume` goes on")
        return 128 - code
    return code
