"""Sweeps on a Ray cluster from outside of it: a command submitted as a job to the cluster's head.

The cluster runs it to its end, also if this program is killed or loses its connection meanwhile.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import yaml

from lstm_sweep.models.errors import InputError, cut, shown
from lstm_sweep.models.wording import option, worded
from lstm_sweep.search.api.errors import JobLostError, JobNotSubmittedError
from lstm_sweep.search.api.job_command import command_of, environment_of
from lstm_sweep.search.api.job_files import ON_HEAD, JobFiles
from lstm_sweep.search.api.job_log import JobLog
from lstm_sweep.search.engines.ray_jobs import (
    UPLOAD_LIMIT,
    JobState,
    NoAnswerError,
    RayJobs,
    UnknownJobError,
    checked_address,
    token_of,
)
from lstm_sweep.search.engines.ray_package import Package, TooLargeError, packed
from lstm_sweep.search.process.interrupts import NEVER, Interrupts
from lstm_sweep.search.store.settings import Settings

#: seconds between two looks at a job; its log is fetched whole, so a long one less often: at most
#: `LOG_PER_S` characters a second, and at least every `LONGEST_LOOK_S` seconds
LOOK_EVERY_S, LOG_PER_S, LONGEST_LOOK_S = 1.0, 100_000, 15.0
#: seconds within which the head must take the job
SUBMIT_WITHIN_S = 60.0
#: seconds without an answer after which that is said, and after which the job is left to itself
SAY_AFTER_S, GIVE_UP_S = 20.0, 900.0
#: seconds after which it is said why a job has not begun
WAITING_S = 20.0
#: characters of a reason that are said, at most
LONGEST_REASON = 600


@dataclass(frozen=True)
class Destination:
    """Where a sweep is to run; on this machine's engine if neither is known."""

    #: address of the dashboard of the head that it is sent to
    head: str | None = None
    #: Ray's own address of the cluster, for the variable `RAY_ADDRESS` of this process
    ray_address: str | None = None


@dataclass(frozen=True)
class ClusterJob:
    """A command that a head runs."""

    head: str
    name: str
    #: whether its result is a JSON document
    has_document: bool = False


@dataclass(frozen=True)
class EndedJob:
    """A job that has ended."""

    state: JobState
    #: the JSON of its command's result; None if it has printed none
    document: str | None


class JobObserver(Protocol):
    """Called when something happens to a job."""

    def printed(self, line: str) -> None:
        """A line of the command's output, or of its errors, as it is in the job's log."""

    def said(self, text: str) -> None:
        """A line for people about the job."""

    def stopping(self) -> None:
        """The job is told to end, and is followed until it has."""


def destination_of(
    address: str | None, on: str | None, environment: Mapping[str, str] = os.environ
) -> Destination:
    """Where a sweep runs that is given an address and an engine; None stands for none.

    For `ray`, the variable `RAY_ADDRESS` stands for an address that is not given.

    Raises:
        InputError: there can be no such address, or the engine has none.
    """
    if address is not None and not isinstance(address, str):
        raise InputError(
            option("address"), f" is {shown(address)}: expected a text, such as 'http://HEAD:8265'"
        )
    given = environment.get("RAY_ADDRESS", "") if address is None and on == "ray" else address
    if given is None or (given == "" and address is None):
        return Destination()
    if on != "ray":
        found = worded("with ", option("on", on)) if on else worded("without ", option("on"))
        raise InputError(
            option("address"), f" is {shown(given)}, ", found, ": expected ", option("on", "ray"),
            " with it",
        )  # fmt: skip
    if given.startswith(("http://", "https://")):
        return Destination(head=checked_address(given))
    if "://" in given or not given.strip():
        raise InputError(
            option("address"),
            f" is {shown(given)}: expected http://HEAD:8265 of a cluster's head, or, on one of its "
            f"nodes, auto or HEAD:6379",
        )
    return Destination(ray_address=given)


def submit(
    job: JobFiles,
    head: str,
    *,
    settings: Settings,
    observer: JobObserver,
    as_json: bool = False,
    columns: int = 80,
    environment: Mapping[str, str] = os.environ,
    interrupts: Interrupts = NEVER,
) -> ClusterJob:
    """Run a command on a head, with its files and the store of `settings`.

    Its result is a JSON document with `as_json`; its lines have `columns` characters. The variables
    of `environment` give Ray's token and the login of the store.

    Raises:
        InputError: the head, the token, the store or the data cannot be used.
        JobNotSubmittedError: an end was wanted before the head had taken the job.
    """
    variables = environment_of(settings, head, columns, environment)
    jobs = RayJobs(head, token_of(environment))
    name = f"lstm-sweep-{secrets.token_hex(4)}"
    words = [*job.words, "--json"] if as_json else job.words
    try:
        jobs.version()
        with _packed(job, settings) as package:
            _upload(jobs, package, observer)
            command = command_of(words, name, package.digest)
            _submit(jobs, name, command, variables, package, interrupts)
    except NoAnswerError as error:
        raise InputError(
            f"{error}: expected the dashboard of a Ray head that answers, such as "
            f"http://HEAD:8265; if it does now, `ray job list` says whether {name} runs"
        ) from None
    return ClusterJob(head, name, as_json)


@contextmanager
def _packed(job: JobFiles, settings: Settings) -> Iterator[Package]:
    """The files of a job, and what it has to know of the store."""
    own = {"experiment": settings.experiment, "request_timeout_s": settings.request_timeout_s}
    files = {**job.files, "mlflow.yaml": yaml.safe_dump(own, allow_unicode=True).encode()}
    try:
        with packed(files, UPLOAD_LIMIT) as package:
            yield package
    except TooLargeError:
        raise InputError(
            f"data: more than the {UPLOAD_LIMIT >> 20} MiB, packed, that Ray takes: expected less, "
            f"or ",
            option("data", f"{ON_HEAD}PATH"),
            ", once they are at a path that the head sees",
        ) from None


def _upload(jobs: RayJobs, package: Package, observer: JobObserver) -> None:
    if not jobs.has_package(package.name):
        if package.size >= 1 << 20:
            observer.said(f"uploading {package.size / (1 << 20):.0f} MiB")
        jobs.upload(package.name, package.file, package.size)


def _submit(
    jobs: RayJobs,
    name: str,
    command: str,
    variables: Mapping[str, str],
    package: Package,
    interrupts: Interrupts,
) -> None:
    """Submit a job; again if the head cannot take it yet, since it was started just now."""
    until = time.monotonic() + SUBMIT_WITHIN_S
    while not interrupts.signal_number:
        try:
            jobs.submit(name, command, environment=variables, package=package.name)
            return
        except NoAnswerError:
            if time.monotonic() > until:
                raise
        _wait(LOOK_EVERY_S, interrupts)
    raise JobNotSubmittedError(
        "an end was wanted before the head had taken the job, so none runs there: "
        "the same lstm-sweep command submits it again"
    )


def _wait(seconds: float, interrupts: Interrupts) -> None:
    """Wait, or until an end is wanted that was not before."""
    until, before = time.monotonic() + seconds, interrupts.signal_number
    while interrupts.signal_number == before and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.1))


def stop(job: ClusterJob, *, environment: Mapping[str, str] = os.environ) -> None:
    """Tell a job to end, if it runs; it closes its runs before it does.

    Raises:
        InputError: the token cannot be used, or there is no Ray head any more.
        JobLostError: the head does not answer, or does not know the job.
    """
    try:
        RayJobs(job.head, token_of(environment)).stop(job.name)
    except (NoAnswerError, UnknownJobError) as error:
        raise JobLostError(str(error)) from None


def follow(
    job: ClusterJob,
    *,
    observer: JobObserver,
    environment: Mapping[str, str] = os.environ,
    interrupts: Interrupts = NEVER,
) -> EndedJob:
    """Show a job to an observer until it has ended; stop it once `interrupts` wants an end.

    Raises:
        InputError: the token cannot be used.
        JobLostError: the head refuses its answers, does not know the job any more, or has given
            none for `GIVE_UP_S` seconds.
    """
    jobs = RayJobs(job.head, token_of(environment))
    return _Following(job, jobs, observer, interrupts).to_the_end()


class _Following:
    """Follows a job to its end."""

    def __init__(
        self, job: ClusterJob, jobs: RayJobs, observer: JobObserver, interrupts: Interrupts
    ) -> None:
        self._jobs, self._name = jobs, job.name
        self._observer, self._interrupts = observer, interrupts
        self._log = JobLog(job.name, has_document=job.has_document)
        self._began = self._answered = time.monotonic()
        self._said_silence = self._said_waiting = self._said_stop = False

    def to_the_end(self) -> EndedJob:
        """Show what the job prints until it has ended."""
        try:
            while not (state := self._look_or_none()) or not state.has_ended:
                if self._said_stop or not self._interrupts.signal_number:
                    look_s = max(LOOK_EVERY_S, self._log.length / LOG_PER_S)
                    _wait(min(look_s, LONGEST_LOOK_S), self._interrupts)
        except UnknownJobError as error:
            why = f"{_reason(error)} any more: the head was started again, and `resume` goes on"
            raise JobLostError(why) from None
        except InputError as error:
            raise JobLostError(f"{error}; {self._elsewhere()}") from None
        self._print(self._log.rest())
        return EndedJob(state, self._log.document)

    def _look_or_none(self) -> JobState | None:
        """The state of the job; None if the head does not answer."""
        try:
            return self._look()
        except NoAnswerError as error:
            self._note_silence(error)
            return None

    def _look(self) -> JobState:
        """The state of the job, once all that it has printed before is shown."""
        if self._interrupts.signal_number:
            if not self._said_stop:
                self._observer.stopping()
            self._said_stop = True
            self._jobs.stop(self._name)  # again until it ends: it may not have begun yet
        state = self._jobs.state(self._name)
        self._print(self._log.new_lines(self._jobs.log(self._name)))
        self._answered = time.monotonic()
        if self._said_silence:
            self._observer.said(f"{self._jobs.address} answers again")
        self._said_silence = False
        waits = state.status == "PENDING" and time.monotonic() - self._began > WAITING_S
        if waits and not self._said_waiting:
            self._observer.said(f"the job has not begun: {_reason(state.message)}")
        self._said_waiting = self._said_waiting or waits
        return state

    def _print(self, lines: Iterator[str]) -> None:
        for line in lines:
            self._observer.printed(line)

    def _note_silence(self, error: NoAnswerError) -> None:
        """Say that the head does not answer, or give up."""
        silent, why = time.monotonic() - self._answered, _reason(error)
        if silent > GIVE_UP_S:
            raise JobLostError(
                f"no answer for {GIVE_UP_S / 60:g} minutes ({why}); {self._elsewhere()}"
            )
        if silent > SAY_AFTER_S and not self._said_silence:
            self._observer.said(f"no answer ({why}); the job goes on, and is asked again")
            self._said_silence = True

    def _elsewhere(self) -> str:
        return f"the job {self._name} may go on, which `lstm-sweep sweeps` shows"


def _reason(error: object) -> str:
    return cut(str(error), LONGEST_REASON)
