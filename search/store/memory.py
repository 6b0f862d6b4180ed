"""A store in memory, the twin of MLflow's: it does the same, and ends with its process."""

from __future__ import annotations

import contextlib
import copy
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from typing_extensions import override

from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.store.base import Store, now_ms, quoted, storable, tags_of_new
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tags import Tag


@dataclass
class RunInfo:
    """What a run is called, and when it ran; times in ms since 1970."""

    run_id: str
    run_name: str
    start_time: int
    end_time: int | None = None
    status: str = "RUNNING"
    lifecycle_stage: str = "active"


@dataclass
class RunData:
    """What is known of a run; of each metric the value of the last step."""

    tags: dict[str, str]
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass
class Run:
    """A run as `MemoryStore` returns it."""

    info: RunInfo
    data: RunData


@dataclass
class _Kept(Run):
    """A run with all that is kept of it."""

    #: steps, times and values of each metric, in the order in which they were logged
    timelines: dict[str, list[tuple[int, int, float]]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    datasets: list[dict[str, str]] = field(default_factory=list)

    def shown(self) -> Run:
        """What is returned of it."""
        return Run(copy.copy(self.info), copy.deepcopy(self.data))


class MemoryStore(Store):
    """Runs in the memory of this process."""

    def __init__(self, name: str = "memory") -> None:
        """`name` is what messages call it."""
        super().__init__(Settings("memory", None, name, "in memory"))
        #: in the order of their creation
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.RLock()

    def copy(self) -> MemoryStore:
        """A store that has the same runs now, and changes by itself."""
        other = MemoryStore(self.settings.experiment)
        with self._lock:
            other._kept = copy.deepcopy(self._kept)
        return other

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Around each change, which is made whole or not at all."""
        with self._lock:
            yield

    def _of(self, run_id: str) -> _Kept:
        if run_id not in self._kept:
            raise StoreError(f"store {self.settings}: it has no run {shown(run_id)}")
        return self._kept[run_id]

    @override
    def prepare(self) -> None:
        pass

    # --- writing ----------------------------------------------------------------------------------

    @override
    def create_run(
        self,
        name: str,
        tags: Mapping[str, str],
        parent: str | None = None,
        at_ms: int | None = None,
    ) -> str:
        written = storable(tags_of_new(tags, parent))
        run_id = uuid.uuid4().hex
        with self.writing():
            info = RunInfo(run_id, name, now_ms() if at_ms is None else at_ms)
            self._kept[run_id] = _Kept(info, RunData(written))
        return run_id

    @override
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
        with self.writing():
            run, fixed = self._of(run_id), storable(params or {})
            for key, value in fixed.items():
                if (known := run.data.params.get(key, value)) != value:
                    raise ValueError(
                        f"run {run_id}: param {key} is {shown(known)}, which cannot change, "
                        f"found {shown(value)}"
                    )
            run.data.params |= fixed
            run.data.tags |= storable(tags or {})
            at_ms = now_ms() if at_ms is None else at_ms
            for at, values in (*(earlier or {}).items(), (step, metrics or {})):
                for key, number in values.items():
                    points = run.timelines.setdefault(key, [])
                    points.append((at, at_ms, float(number)))
                    run.data.metrics[key] = max(points[::-1], key=lambda point: point[0])[2]

    @override
    def log_once(self, run_id: str, key: str, value: str) -> bool:
        with contextlib.suppress(ValueError):
            self.log(run_id, params={key: value})
        return self._of(run_id).data.params.get(key) == value

    @override
    def finish(self, run_id: str, status: str, at_ms: int | None = None) -> None:
        with self.writing():
            info = self._of(run_id).info
            info.status, info.end_time = status, now_ms() if at_ms is None else at_ms

    @override
    def reopen(self, run_id: str, status: str = "RUNNING") -> None:
        with self.writing():
            self._of(run_id).info.status = status

    @override
    def drop_tag(self, run_id: str, key: str) -> None:
        if key in self._of(run_id).data.tags:
            with self.writing():
                self._of(run_id).data.tags.pop(key, None)

    @override
    def log_dataset(self, run_id: str, *, name: str, digest: str, source: str) -> None:
        given = {"name": name, "digest": digest, "source": source}
        with self.writing():
            if given not in (datasets := self._of(run_id).datasets):
                datasets.append(given)

    @override
    def keep_file(self, run_id: str, file: Path, folder: str | None = None) -> None:
        content = file.read_bytes()
        with self.writing():
            self._of(run_id).files[f"{folder}/{file.name}" if folder else file.name] = content

    @override
    def drop_folder(self, run_id: str, name: str) -> None:
        if inside := self.files(run_id, name):
            with self.writing():
                for one in inside:
                    self._of(run_id).files.pop(one, None)

    # --- reading ----------------------------------------------------------------------------------

    def _those(self, is_meant: Callable[[_Kept], bool]) -> list[Run]:
        """Runs, oldest first."""
        with self._lock:
            return [run.shown() for run in self._kept.values() if is_meant(run)]

    @override
    def run(self, run_id: str) -> Any:
        return next(iter(self._those(lambda run: run.info.run_id == run_id)), None)

    @override
    def tags(self, run_id: str) -> dict[str, str]:
        with self._lock:
            return dict(self._of(run_id).data.tags)

    @override
    def runs(
        self, tags: Mapping[str, str] | None = None, *, newest: int | None = None
    ) -> list[Any]:
        wanted = tags or {}
        for value in wanted.values():
            quoted(value)
        found = self._those(lambda run: wanted.items() <= run.data.tags.items())
        return found[::-1][:newest] if newest else found

    @override
    def newest_runs(
        self, tags: Mapping[str, str], most: int, token: str = ""
    ) -> tuple[list[Any], str]:
        if token and not token.isdecimal():
            why = "expected what an answer has named as its next page"
            raise InputError(f"page is {shown(token)}: {why}")
        found, first = self.runs(tags)[::-1], int(token or 0)
        after = first + most
        return found[first:after], str(after) if after < len(found) else ""

    @override
    def lowest_runs(self, tags: Mapping[str, str], metric: str, most: int) -> list[Any]:
        lowest_first = sorted(
            self.runs(tags), key=lambda run: run.data.metrics.get(metric, float("inf"))
        )
        return lowest_first[:most]

    @override
    def trials_with_id(self, prefix: str, most: int) -> list[Any]:
        found = self._those(
            lambda run: run.info.run_id.startswith(prefix) and Tag.TRIAL in run.data.tags
        )
        return found[::-1][:most]

    @override
    def sweeps_with_name(self, prefix: str, most: int) -> list[Any]:
        found = self.runs({Tag.ROLE: "sweep"})
        named = [run for run in found if run.data.tags.get(Tag.NAME, "").startswith(prefix)]
        return named[::-1][:most]

    @override
    def timeline(self, run_id: str, key: str) -> tuple[tuple[int, int, float], ...]:
        with self._lock:
            return tuple(self._of(run_id).timelines.get(key, ()))

    def files(self, run_id: str, folder: str | None = None) -> list[str]:
        """Names of the artifacts of a run, or of those in a folder."""
        inside = f"{folder}/" if folder else ""
        with self._lock:
            return [name for name in self._of(run_id).files if name.startswith(inside)]

    def content(self, run_id: str, name: str) -> bytes:
        """What is in an artifact of a run."""
        return self._of(run_id).files[name]

    @override
    def bytes_of(self, run_id: str, name: str | None = None) -> int:
        return sum(len(self.content(run_id, one)) for one in self.files(run_id, name))

    @override
    def fetch(self, run_id: str, name: str, to: Path) -> Path:
        for one in self.files(run_id):
            if one == name or one.startswith(f"{name}/"):
                (to / one).parent.mkdir(parents=True, exist_ok=True)
                (to / one).write_bytes(self.content(run_id, one))
        if not (to / name).exists():
            raise StoreError(f"store {self.settings}: run {run_id} has no file {shown(name)}")
        return to / name
