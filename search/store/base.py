"""What a store of sweeps can do: MLflow's in `tracking.py`, and its twin in `memory.py`."""

from __future__ import annotations

import getpass
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tags import Signer, Tag

#: characters of the longest tag; MLflow truncates longer ones without an error
TAG_LENGTH = 8000
#: runs of one answer
RUNS_PER_PAGE = 1000
#: orders of runs, beside those by a metric, the lowest first, which are called as that
NEWEST, OLDEST = "newest first", "oldest first"

#: a value of a metric: its name, the value, when it was measured in ms since 1970, and its step
Point = tuple[str, float, int, int]
#: between this process's clock, which nobody sets, and seconds since 1970
_OFFSET_S = time.time() - time.monotonic()


def now_ms() -> int:
    """Ms since 1970, by a clock that ignores later changes of the system's clock."""
    return int(1000 * (_OFFSET_S + time.monotonic()))


class Store(ABC):
    """Runs of sweeps, of their trials and baselines: status, params, tags, metrics and files.

    A run that is returned has `info` (`run_id`, `run_name`, `status`, `start_time`, `end_time`) and
    `data` (`tags`, `params`, and the latest `metrics`), as MLflow's have; changing it changes no
    store. Times are in ms since 1970, or now. Whatever fails raises a `StoreError`, but for what a
    method names itself. To repeat a request of the same time has no effect.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        #: what signs the sweeps of a service; None: whatever is read and written is not signed
        self.signer: Signer | None = None

    @abstractmethod
    def prepare(self) -> None:
        """Make sure that runs and files can be written; raises `InputError` if they cannot."""

    # --- writing ----------------------------------------------------------------------------------

    def create_run(
        self,
        name: str,
        tags: Mapping[str, str],
        parent: str | None = None,
        at_ms: int | None = None,
    ) -> str:
        """Create a running run and return its ID.

        If it is tried again with the same tag `Tag.CREATION`, after an answer that was lost, no
        second run is made.
        """
        for key, value in tags.items():
            if len(value) > TAG_LENGTH:
                raise InputError(
                    f"{key} has {len(value):,} characters, expected at most {TAG_LENGTH:,}"
                )
        own = {Tag.USER: _user(), Tag.PROGRAM: "lstm-sweep", Tag.CREATION: uuid.uuid4().hex}
        of_parent = {Tag.PARENT: parent} if parent else {}
        return self._create(name, storable(own | of_parent | dict(tags)), at_ms or now_ms())

    @abstractmethod
    def _create(self, name: str, tags: dict[str, str], at_ms: int) -> str: ...

    def log(
        self,
        run_id: str,
        *,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        step: int = 0,
        steps: Mapping[int, Mapping[str, float]] | None = None,
        at_ms: int | None = None,
    ) -> None:
        at_ms = at_ms or now_ms()
        points = [
            (key, float(value), at_ms, number)
            for number, values in (*(steps or {}).items(), (step, metrics or {}))
            for key, value in values.items()
        ]
        self._log(run_id, points, storable(params or {}), storable(tags or {}))

    @abstractmethod
    def _log(
        self, run_id: str, points: list[Point], params: dict[str, str], tags: dict[str, str]
    ) -> None: ...

    def log_once(self, run_id: str, key: str, value: str) -> bool:
        """Write a param, which cannot be changed afterwards; return whether it has this value.

        If several processes write different values at the same time, one of them succeeds.
        """
        try:
            self.log(run_id, params={key: value})
        except StoreError:
            raise
        except Exception:
            run = self.run(run_id)
            if run is None or key not in run.data.params:
                raise
            return bool(run.data.params[key] == value)
        return True

    def finish(self, run_id: str, status: str, at_ms: int | None = None) -> None:
        self._set_status(run_id, status, at_ms or now_ms())

    def reopen(self, run_id: str, status: str = "RUNNING") -> None:
        """Give a run a status that is not final: it runs, or is `SCHEDULED`."""
        self._set_status(run_id, status, None)

    @abstractmethod
    def _set_status(self, run_id: str, status: str, ended_ms: int | None) -> None: ...

    @abstractmethod
    def drop_tag(self, run_id: str, key: str) -> None:
        """Delete a tag if the run has it; another process may do it at the same time."""

    @abstractmethod
    def log_dataset(self, run_id: str, name: str, digest: str, source: str) -> None:
        """Log the data of a run; `digest` is ours, over all symbols."""

    @abstractmethod
    def keep_file(self, run_id: str, file: Path, folder: str | None = None) -> None: ...

    def keep_text(self, run_id: str, text: str, name: str) -> None:
        folder, _, last = name.rpartition("/")
        with tempfile.TemporaryDirectory(prefix="lstm-sweep-") as scratch:
            file = Path(scratch) / last
            file.write_text(text, encoding="utf-8")
            self.keep_file(run_id, file, folder or None)

    @abstractmethod
    def drop_folder(self, run_id: str, name: str) -> None: ...

    # --- reading ----------------------------------------------------------------------------------

    @abstractmethod
    def run(self, run_id: str) -> Any:
        """The run with an ID; None if there is none."""

    @abstractmethod
    def tags(self, run_id: str) -> dict[str, str]: ...

    @abstractmethod
    def select(
        self,
        tags: Mapping[str, str],
        most: int,
        token: str = "",
        *,
        order: str = NEWEST,
        begins: tuple[str, str] | None = None,
    ) -> tuple[list[Any], str]:
        """So many runs with these tags, and what names those after them.

        `begins` has the name of a tag, or "" for the ID of the run, and what that begins with.
        `token` is what an earlier page has named these by; it is empty after the last one.
        """

    def runs(
        self, tags: Mapping[str, str] | None = None, begins: tuple[str, str] | None = None
    ) -> list[Any]:
        found, token = self.select(tags or {}, RUNS_PER_PAGE, order=OLDEST, begins=begins)
        while token:
            page, token = self.select(tags or {}, RUNS_PER_PAGE, token, order=OLDEST, begins=begins)
            found += page
        return found

    def history(self, run_id: str, key: str) -> dict[int, float]:
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


def has_beginning(run: Any, begins: tuple[str, str] | None) -> bool:
    key, prefix = begins or ("", "")
    found: str = run.data.tags.get(key, "") if key else run.info.run_id
    return found.startswith(prefix)


def storable(values: Mapping[str, Any]) -> dict[str, str]:
    """Values as texts that every database holds: PostgreSQL has none with a null character."""
    return {key: str(value).replace("\0", "\\0") for key, value in values.items()}


def quoted(value: str) -> str:
    """A text as a filter of MLflow takes it: in either kind of quotes, with nothing escaped."""
    if "'" in value and '"' in value:
        raise InputError(f"{shown(value)} has both kinds of quotes: expected one of them at most")
    mark = '"' if "'" in value else "'"
    return f"{mark}{value}{mark}"


def no_page(token: str) -> InputError:
    return InputError(f"page is {shown(token)}: expected what an answer has named as its next page")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
