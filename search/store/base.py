"""What a store of sweeps can do: MLflow's in `tracking.py`, and its twin in `memory.py`."""

from __future__ import annotations

import getpass
import tempfile
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.store.faults import steady_clock
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.signatures import Signer
from lstm_sweep.search.store.tags import Tag

#: characters of the longest tag; MLflow truncates longer ones without an error
TAG_LENGTH = 8000


now_ms = steady_clock()


class Store(ABC):
    """Runs of sweeps, of their trials and baselines: status, params, tags, metrics and files.

    A run that is returned has `info` (`run_id`, `run_name`, `status`, `start_time`, `end_time`) and
    `data` (`tags`, `params`, and the latest `metrics`), as MLflow's have; changing it changes no
    store. Whatever fails raises a `StoreError`, but for what a method names itself.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        #: what signs the sweeps of a service; None: whatever is read and written is not signed
        self.signer: Signer | None = None

    @abstractmethod
    def prepare(self) -> None:
        """Make sure that runs and files can be written.

        Raises:
            InputError: they cannot.
        """

    # --- writing ----------------------------------------------------------------------------------

    @abstractmethod
    def create_run(
        self,
        name: str,
        tags: Mapping[str, str],
        parent: str | None = None,
        at_ms: int | None = None,
    ) -> str:
        """Create a running run and return its ID.

        It began at a time in ms since 1970, or now. If it is tried again with the same tag
        `Tag.CREATION`, after an answer that was lost, no second run is made.

        Raises:
            InputError: a tag is longer than MLflow keeps.
        """

    @abstractmethod
    def log(
        self,
        run_id: str,
        *,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        step: int = 0,
        earlier: Mapping[int, Mapping[str, float]] | None = None,
        at_ms: int | None = None,
    ) -> None:
        """Log metrics, params and tags in one request.

        `metrics` are those of `step`, `earlier` has those of other steps. They were measured at a
        time in ms since 1970, or now. To repeat a request of the same time has no effect.
        """

    @abstractmethod
    def log_once(self, run_id: str, key: str, value: str) -> bool:
        """Write a param, which cannot be changed afterwards; return whether it has this value.

        If several processes write different values at the same time, one of them succeeds.
        """

    @abstractmethod
    def finish(self, run_id: str, status: str, at_ms: int | None = None) -> None:
        """Give a run its final status; it has ended at a time in ms since 1970, or now."""

    @abstractmethod
    def reopen(self, run_id: str, status: str = "RUNNING") -> None:
        """Give a run a status that is not final: it runs, or is `SCHEDULED`."""

    @abstractmethod
    def drop_tag(self, run_id: str, key: str) -> None:
        """Delete a tag if the run has it; another process may do it at the same time."""

    @abstractmethod
    def log_dataset(self, run_id: str, *, name: str, digest: str, source: str) -> None:
        """Log the data of a run; `digest` is ours, over all symbols."""

    @abstractmethod
    def keep_file(self, run_id: str, file: Path, folder: str | None = None) -> None:
        """Store a file as an artifact of a run."""

    def keep_text(self, run_id: str, text: str, name: str) -> None:
        """Store a text as an artifact of a run."""
        folder, _, last = name.rpartition("/")
        with tempfile.TemporaryDirectory(prefix="lstm-sweep-") as scratch:
            file = Path(scratch) / last
            file.write_text(text, encoding="utf-8")
            self.keep_file(run_id, file, folder or None)

    @abstractmethod
    def drop_folder(self, run_id: str, name: str) -> None:
        """Delete a folder of artifacts if there is one."""

    # --- reading ----------------------------------------------------------------------------------

    @abstractmethod
    def run(self, run_id: str) -> Any:
        """The run with an ID; None if there is none."""

    @abstractmethod
    def tags(self, run_id: str) -> dict[str, str]:
        """All tags of a run."""

    @abstractmethod
    def runs(
        self, tags: Mapping[str, str] | None = None, *, newest: int | None = None
    ) -> list[Any]:
        """Runs with these tags, oldest first; or so many, `newest` first."""

    @abstractmethod
    def newest_runs(
        self, tags: Mapping[str, str], most: int, token: str = ""
    ) -> tuple[list[Any], str]:
        """So many runs with these tags, newest first, and what names those after them.

        `token` is what an earlier page has named them by; it is empty after the last one.

        Raises:
            InputError: no page has named `token`.
        """

    @abstractmethod
    def lowest_runs(self, tags: Mapping[str, str], metric: str, most: int) -> list[Any]:
        """So many runs with these tags, those first in which a metric is lowest."""

    @abstractmethod
    def trials_with_id(self, prefix: str, most: int) -> list[Any]:
        """So many runs of trials whose IDs begin so, newest first."""

    @abstractmethod
    def sweeps_with_name(self, prefix: str, most: int) -> list[Any]:
        """So many runs of sweeps whose names begin so, newest first."""

    def history(self, run_id: str, key: str) -> dict[int, float]:
        """Values of a metric by step."""
        return {step: value for step, _, value in self.timeline(run_id, key)}

    @abstractmethod
    def timeline(self, run_id: str, key: str) -> tuple[tuple[int, int, float], ...]:
        """Steps of a metric, when they were logged, in ms since 1970, and values."""

    @abstractmethod
    def bytes_of(self, run_id: str, name: str | None = None) -> int:
        """Bytes of the artifacts of a run, or of those in a folder, as far as the place says."""

    @abstractmethod
    def fetch(self, run_id: str, name: str, to: Path) -> Path:
        """Download an artifact of a run into folder `to`; return its path."""

    def page(self, run_id: str = "") -> str:
        """Path of a run's page in the MLflow UI; without an ID, that of the list of all runs."""
        return ""


def storable(values: Mapping[str, Any]) -> dict[str, str]:
    """Values as texts that every database holds: PostgreSQL has none with a null character."""
    return {key: str(value).replace("\0", "\\0") for key, value in values.items()}


def quoted(value: str) -> str:
    """A text as a filter of MLflow takes it: in either kind of quotes, with nothing escaped.

    Raises:
        InputError: it has both kinds.
    """
    if "'" in value and '"' in value:
        raise InputError(f"{shown(value)} has both kinds of quotes: expected one of them at most")
    mark = '"' if "'" in value else "'"
    return f"{mark}{value}{mark}"


def tags_of_new(tags: Mapping[str, str], parent: str | None) -> dict[str, str]:
    """The tags with which a run is created; each creation has one that no other has.

    Raises:
        InputError: a tag is longer than MLflow keeps.
    """
    for key, value in tags.items():
        if len(value) > TAG_LENGTH:
            raise InputError(
                f"{key} has {len(value):,} characters, expected at most {TAG_LENGTH:,}"
            )
    own = {Tag.USER: _user(), Tag.PROGRAM: "lstm-sweep", Tag.CREATION: uuid.uuid4().hex}
    return {**own, **({Tag.PARENT: parent} if parent else {}), **tags}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
