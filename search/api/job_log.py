"""The log of a job on a cluster, in which a command's lines stand among those of Ray."""

from __future__ import annotations

import json
from collections.abc import Iterator

from lstm_sweep.search.api.job_command import begin_of


class JobLog:
    """Finds the lines of a log that were not there before, from the command's first one on.

    Ray writes both outputs of a command to one log. With `has_document` the command's result is a
    JSON document, which is kept apart from the lines.
    """

    def __init__(self, job: str, *, has_document: bool) -> None:
        #: characters of the log when it was read last
        self.length = 0
        #: what seems to be the result
        self.document: str | None = None
        self._has_document = has_document
        #: what Ray writes itself, at some time after the command has been started
        self._of_ray = f"Running entrypoint for job {job}: "
        self._begin = begin_of(job)
        self._has_begun = False
        #: where the first line begins that was not read
        self._place = 0
        #: a line that had not ended when the log was read last
        self._rest = ""

    def new_lines(self, log: str) -> Iterator[str]:
        """The whole lines of a log that are new."""
        self.length = max(self.length, len(log))
        while (end := log.find("\n", self._place)) >= 0:
            line, self._place = log[self._place : end], end + 1
            yield from self._shown(line)
        self._rest = log[self._place :]

    def rest(self) -> Iterator[str]:
        """The last line, if it has no end."""
        if self._rest:
            yield from self._shown(self._rest)

    def _shown(self, line: str) -> Iterator[str]:
        """What people see of a line: it, or the document before this one, or nothing."""
        if not self._has_begun or line.startswith(self._of_ray):
            self._has_begun = self._has_begun or line == self._begin
            return
        if self._has_document and (document := _document(line)):
            before, self.document = self.document, document
            if before:
                yield before
            return
        yield line


def _document(line: str) -> str | None:
    """A result of `launch` or `resume` at the beginning of a line; None if there is none."""
    if not line.startswith('{"sweep":'):
        return None
    try:
        document, end = json.JSONDecoder().raw_decode(line)
    except ValueError:
        return None
    return line[:end] if "state" in document else None
