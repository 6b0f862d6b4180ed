"""`Store`, which keeps runs, and `MlflowStore`, the only place that writes to MLflow.

The driver is the only writer. A trial takes one call to create its run, one for each round, one for
its outcome, and one for its final status, in that order: a run whose status is not final is not
finished. Its params, and rounds, that are not logged yet when the next round comes, or when the
trial waits or ends, are logged in the call of that.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import math
import os
import re
import sqlite3
import sys
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from typing_extensions import override

from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.process.files import locked
from lstm_sweep.search.store.experiment import (
    Experiment,
    applied,
    load_mlflow,
    read_any_text,
)
from lstm_sweep.search.store.faults import StoreError, reason, refused, reported
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tags import Signer, Tag

#: characters of the longest tag; MLflow truncates longer ones without an error
TAG_LENGTH = 8000
#: runs of one answer
RUNS_PER_PAGE = 1000
#: orders of runs, beside those by a metric, the lowest first, which are called as that
NEWEST, OLDEST = "newest first", "oldest first"


@dataclass(frozen=True)
class Begins:
    """A tag that begins so."""

    text: str


#: tags of runs by their names, "" for the ID of a run
Wanted = Mapping[str, str | Begins]
NO_TAGS: Wanted = MappingProxyType({})
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
        self, tags: Wanted, most: int, token: str = "", order: str = NEWEST
    ) -> tuple[list[Any], str]:
        """So many runs with these tags, and the `token` that names those after them, or ""."""

    def runs(self, tags: Wanted = NO_TAGS) -> list[Any]:
        found, token = self.select(tags, RUNS_PER_PAGE, order=OLDEST)
        while token:
            page, token = self.select(tags, RUNS_PER_PAGE, token, OLDEST)
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


def has_tags(run: Any, tags: Wanted) -> bool:
    for name, wanted in tags.items():
        found = run.data.tags.get(name) if name else run.info.run_id
        if isinstance(wanted, Begins):
            found, wanted = (found or "")[: len(wanted.text)], wanted.text
        if found != wanted:
            return False
    return True


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


#: the mounts of this process, as proc_pid_mountinfo(5) describes them
MOUNTS = Path("/proc/self/mountinfo")
#: types of file systems that one host alone has mounted. All others count as shared: those of
#: networks (nfs, cifs, lustre, gpfs, beegfs, ceph ...), of a host of this one (9p, virtiofs), those
#: by FUSE, of which nobody knows what is behind them, and those that are not known here
OWN = {
    "apfs", "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "fuseblk", "hfs",
    "hfsplus", "jfs", "nilfs2", "ntfs", "ntfs3", "overlay", "ramfs", "reiserfs", "tmpfs", "ufs",
    "vfat", "xfs", "zfs",
}  # fmt: skip


def kind_of(path: Path) -> str:
    """The type of the file system on which a path lies, or would; empty if nobody knows."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        path = path.resolve()
    except OSError:  # no Linux, or a path whose links lead in a circle
        return ""
    found = [(-1, "")]
    for line in lines:
        own, _, of = line.partition(" - ")
        place = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), own.split(" ")[4])
        if path.is_relative_to(place):
            found.append((len(Path(place).parts), of.split(" ")[0]))
    # of several on one place the last one is seen
    return max(reversed(found), key=lambda one: one[0])[1]


Answer = TypeVar("Answer")

#: MLflow's names of orders
ORDERS = {NEWEST: "attributes.start_time DESC", OLDEST: "attributes.start_time ASC"}
#: metrics that go into one request of MLflow's client, with 100 params and 100 tags
MOST_METRICS = 800


class MlflowStore(Store):
    """Runs in one MLflow experiment, read and written through `MlflowClient`."""

    def __init__(self, settings: Settings) -> None:
        """Connect, and create the tables if they are missing."""
        if why := settings.lacks:
            raise InputError(f"store {settings}: {why}")
        mlflow = load_mlflow()
        super().__init__(settings)
        #: places of the files of runs by run ID, a cache
        self._places: dict[str, str] = {}
        #: creations of runs of which nobody knows whether they have succeeded
        self._unsure = set[str]()
        file, uri = settings.database_file, settings.mlflow_uri
        try:
            with contextlib.ExitStack() as stack:
                if file:
                    # MLflow fails if two processes create the tables of an SQLite file
                    stack.enter_context(locked(file.parent))
                stack.enter_context(applied(settings))
                if file and not file.exists():
                    _make(file)
                if file:
                    _choose_journal(file)
                self.client = mlflow.MlflowClient(uri, uri)
                if file:
                    read_any_text(self.client)
                self.experiment = Experiment(self.client, settings)
        except InputError as error:
            raise InputError(f"store {settings}: {error}") from None
        except Exception as error:
            why = refused(error) or _unwritable(file)
            why = why or f"{reason(error)}; expected a store that answers"
            raise InputError(f"store {settings}: {why}") from None

    def ask(self, call: Callable[[], Answer]) -> Answer:
        """Make a request; a `StoreError` if it is refused, or not answered (`NoAnswerError`)."""
        with applied(self.settings):
            return reported(call, str(self.settings))

    @override
    def prepare(self) -> None:
        try:
            with applied(self.settings):
                self.experiment.make()
                self.experiment.check_reach(to_write=True)
        except InputError:
            raise
        except Exception as error:
            why = refused(error) or f"{reason(error)}; expected a store that can be written"
            raise InputError(f"store {self.settings}: {why}") from None

    # --- writing ----------------------------------------------------------------------------------

    @override
    def _create(self, name: str, tags: dict[str, str], at_ms: int) -> str:
        creation = tags[Tag.CREATION]
        if self.experiment.id is None:
            self.prepare()
        self.ask(self.experiment.check_reach)
        if creation in self._unsure and (made := self.runs({Tag.CREATION: creation})):
            return str(made[0].info.run_id)
        self._unsure.add(creation)
        run = self.ask(
            lambda: self.client.create_run(
                self.experiment.id, start_time=at_ms, tags=tags, run_name=name
            )
        )
        self._unsure.discard(creation)
        return str(run.info.run_id)

    @override
    def _log(
        self, run_id: str, points: list[Point], params: dict[str, str], tags: dict[str, str]
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        values = [Metric(*point) for point in points]
        fixed = [Param(key, value) for key, value in params.items()]
        words = [RunTag(key, value) for key, value in tags.items()]
        if words and len(values) > MOST_METRICS:
            # MLflow's client would write the tags, such as the outcome, with the first part
            self.ask(lambda: self.client.log_batch(run_id, values, fixed))
            values, fixed = [], []
        self.ask(lambda: self.client.log_batch(run_id, values, fixed, words))

    @override
    def _set_status(self, run_id: str, status: str, ended_ms: int | None) -> None:
        change = partial(self.client.update_run, run_id, status=status)
        if ended_ms:
            change = partial(self.client.set_terminated, run_id, status=status, end_time=ended_ms)
        self.ask(change)

    @override
    def log_dataset(self, run_id: str, name: str, digest: str, source: str) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(name, digest, "local", json.dumps({"uri": source}))
        inputs = [DatasetInput(dataset, [InputTag(Tag.DATA_CONTEXT, "training")])]
        log = partial(self.client.log_inputs, run_id, datasets=inputs)
        try:
            self.ask(log)
        except Exception:  # another process has made what was missing when MLflow looked
            self.ask(log)

    @override
    def keep_file(self, run_id: str, file: Path, folder: str | None = None) -> None:
        self.ask(lambda: self._files_of(run_id).log_artifact(str(file), folder))

    @override
    def drop_folder(self, run_id: str, name: str) -> None:
        def drop() -> None:
            repository = self._files_of(run_id)
            if repository.list_artifacts(name):
                repository.delete_artifacts(name)

        self.ask(drop)

    # --- reading ----------------------------------------------------------------------------------

    @override
    def run(self, run_id: str) -> Any:
        run = None
        with unless("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            run = self.ask(lambda: self.client.get_run(run_id))
        is_own = run and run.info.experiment_id == self.experiment.id
        return run if is_own and run.info.lifecycle_stage == "active" else None

    @override
    def tags(self, run_id: str) -> dict[str, str]:
        return dict(self.ask(lambda: self.client.get_run(run_id)).data.tags)

    @override
    def select(
        self, tags: Wanted, most: int, token: str = "", order: str = NEWEST
    ) -> tuple[list[Any], str]:
        from mlflow.exceptions import MlflowException

        conditions = [_condition(name, wanted) for name, wanted in tags.items()]
        by, runs = ORDERS.get(order, f"metrics.`{order}` ASC"), list[Any]()

        def search() -> Any:
            return self.experiment.id and self.client.search_runs(
                [self.experiment.id],
                " and ".join(conditions),
                max_results=most - len(runs),
                order_by=[by],
                page_token=token or None,
            )

        while True:
            try:
                found = self.ask(search)
            except MlflowException as error:
                if not token:
                    raise
                raise no_page(token) from error
            if found is None:  # there is no experiment
                return [], ""
            # the database takes a `_` for any character
            runs += [run for run in found if has_tags(run, tags)]
            # its store names what comes next by bytes
            after = found.token or ""
            token = after.decode("ascii") if isinstance(after, bytes) else str(after)
            if not token or len(runs) >= most:
                return runs, token

    @override
    def timeline(self, run_id: str, key: str) -> tuple[tuple[int, int, float], ...]:
        found = self.ask(lambda: self.client.get_metric_history(run_id, key))
        return tuple((one.step, one.timestamp, _read_back(one.value)) for one in found)

    @override
    def bytes_of(self, run_id: str, name: str | None = None) -> int:
        return self.ask(lambda: size_of(self._files_of(run_id), name))

    @override
    def fetch(self, run_id: str, name: str, to: Path) -> Path:
        return Path(self.ask(lambda: self._files_of(run_id).download_artifacts(name, str(to))))

    def _files_of(self, run_id: str) -> Any:
        place = self._places.get(run_id)
        if place is None:
            place = self._places[run_id] = self.experiment.place_of(run_id)
        return self.files_at(place)

    def files_at(self, place: str) -> Any:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(place, tracking_uri=self.settings.mlflow_uri)

    @override
    def page(self, run_id: str = "") -> str:
        if self.experiment.id is None:
            return "/#/experiments"
        path = f"/#/experiments/{self.experiment.id}/runs{run_id and f'/{run_id}'}"
        return f"{path}?workflowType=machine_learning{'' if run_id else self.experiment.view}"


def _condition(name: str, wanted: str | Begins) -> str:
    field = f"tags.`{name}`" if name else "attributes.run_id"
    if isinstance(wanted, Begins):
        return f"{field} LIKE {quoted(f'{wanted.text}%')}"
    return f"{field} = {quoted(wanted)}"


@contextlib.contextmanager
def unless(*codes: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code not in codes:
            raise


def _read_back(value: float) -> float:
    """A metric as it was logged: databases store infinity as the largest float."""
    infinite = abs(value) >= sys.float_info.max
    return math.copysign(math.inf, value) if infinite else value


def size_of(repository: Any, name: str | None = None) -> int:
    """Bytes of all files of one of MLflow's repositories, or of those in a folder."""
    found = 0
    for one in repository.list_artifacts(name):
        found += size_of(repository, one.path) if one.is_dir else one.file_size or 0
    return found


def _make(file: Path) -> None:
    """Make an SQLite file with MLflow's tables, whole or not at all: it cannot go on with some."""
    import sqlalchemy
    from mlflow.store.db import utils

    new = file.with_name(f"{file.name}.new")
    for end in ("", "-wal", "-shm", "-journal"):  # of a process that was killed
        new.with_name(new.name + end).unlink(missing_ok=True)
    _choose_journal(new)
    engine = sqlalchemy.create_engine(f"sqlite:///{new}")
    utils._initialize_tables(engine)
    engine.dispose()
    new.rename(file)


def _choose_journal(file: Path) -> None:
    """Let readers of a new SQLite file work while it is written; the file keeps this setting.

    That takes a write-ahead log, which all processes share in memory (SQLite's wal.html), so a file
    that several hosts may use has a rollback journal. It keeps that on any host: the one that has
    the disk does not see that it shares it.
    """
    with contextlib.closing(sqlite3.connect(file)) as connection:
        kind = kind_of(file)
        if kind in OWN:
            if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                connection.execute("PRAGMA journal_mode=WAL")
            return
        try:
            connection.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            raise InputError(
                "it has a write-ahead log, which processes of one host alone can share, on a file "
                f"system of type {kind or 'unknown'}, and is in use; expected whatever uses it to "
                "end once, so that it gets a rollback journal"
            ) from None


def _unwritable(file: Path | None) -> str:
    """What of a database in a file cannot be written; empty if nothing keeps this user from it."""
    if file is None:
        return ""
    if not os.access(file.parent, os.W_OK):
        return f"the folder {file.parent} cannot be written; expected one that can"
    if file.exists() and not os.access(file, os.W_OK):
        return f"{file} cannot be written; expected a file that can"
    return ""
