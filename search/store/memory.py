"""A store in memory, the twin of MLflow's: it does the same, and ends with its process."""

from __future__ import annotations

import contextlib
import copy
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from typing_extensions import override

from lstm_sweep.models.errors import shown
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tracking import (
    NEWEST,
    OLDEST,
    Begins,
    Point,
    Store,
    Wanted,
    has_tags,
    no_page,
    quoted,
)


class MemoryStore(Store):
    """Runs in the memory of this process."""

    def __init__(self, name: str = "memory") -> None:
        super().__init__(Settings("memory", None, name, "in memory"))
        #: runs in the order of their creation, with the `timelines` of their metrics and `files`
        self._kept: dict[str, Any] = {}
        self._lock = threading.RLock()

    def copy(self) -> MemoryStore:
        other = MemoryStore(self.settings.experiment)
        with self._lock:
            other._kept = copy.deepcopy(self._kept)
        return other

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Around each change, which is made whole or not at all."""
        with self._lock:
            yield

    def _of(self, run_id: str) -> Any:
        if run_id not in self._kept:
            raise StoreError(f"store {self.settings}: it has no run {shown(run_id)}")
        return self._kept[run_id]

    @override
    def prepare(self) -> None:
        pass

    # --- writing ----------------------------------------------------------------------------------

    @override
    def _create(self, name: str, tags: dict[str, str], at_ms: int) -> str:
        run_id = uuid.uuid4().hex
        info = SimpleNamespace(
            run_id=run_id, run_name=name, status="RUNNING", start_time=at_ms, end_time=None
        )
        data = SimpleNamespace(tags=tags, params={}, metrics={})
        with self.writing():
            self._kept[run_id] = SimpleNamespace(info=info, data=data, timelines={}, files={})
        return run_id

    @override
    def _log(
        self, run_id: str, points: list[Point], params: dict[str, str], tags: dict[str, str]
    ) -> None:
        with self.writing():
            run = self._of(run_id)
            for key, value in params.items():
                if (known := run.data.params.get(key, value)) != value:
                    raise ValueError(
                        f"run {run_id}: param {key} is {shown(known)}, which cannot change, "
                        f"found {shown(value)}"
                    )
            run.data.params |= params
            run.data.tags |= tags
            for key, number, at_ms, step in points:
                timeline = run.timelines.setdefault(key, [])
                if (step, at_ms, number) not in timeline[-1:]:
                    timeline.append((step, at_ms, number))
                run.data.metrics[key] = max(timeline[::-1], key=lambda point: point[0])[2]

    @override
    def _set_status(self, run_id: str, status: str, ended_ms: int | None) -> None:
        with self.writing():
            info = self._of(run_id).info
            info.status, info.end_time = status, ended_ms or info.end_time

    @override
    def log_dataset(self, run_id: str, name: str, digest: str, source: str) -> None:
        with self.writing():  # nobody reads it
            self._of(run_id)

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

    @override
    def run(self, run_id: str) -> Any:
        with self._lock:
            return self._returned(self._kept[run_id]) if run_id in self._kept else None

    def _returned(self, run: Any) -> Any:
        return SimpleNamespace(info=copy.copy(run.info), data=copy.deepcopy(run.data))

    @override
    def tags(self, run_id: str) -> dict[str, str]:
        with self._lock:
            return dict(self._of(run_id).data.tags)

    @override
    def select(
        self, tags: Wanted, most: int, token: str = "", order: str = NEWEST
    ) -> tuple[list[Any], str]:
        for value in tags.values():
            quoted(value.text if isinstance(value, Begins) else value)
        if token and not token.isdecimal():
            raise no_page(token)
        with self._lock:
            found = [self._returned(run) for run in self._kept.values() if has_tags(run, tags)]
        if order == NEWEST:
            found.reverse()
        elif order != OLDEST:
            found.sort(key=lambda run: run.data.metrics.get(order, float("inf")))
        first = int(token or 0)
        after = first + most
        return found[first:after], str(after) if after < len(found) else ""

    @override
    def timeline(self, run_id: str, key: str) -> tuple[tuple[int, int, float], ...]:
        with self._lock:
            return tuple(self._of(run_id).timelines.get(key, ()))

    def files(self, run_id: str, folder: str | None = None) -> list[str]:
        inside = f"{folder}/" if folder else ""
        with self._lock:
            return [name for name in self._of(run_id).files if name.startswith(inside)]

    @override
    def bytes_of(self, run_id: str, name: str | None = None) -> int:
        files = self._of(run_id).files
        return sum(len(files[one]) for one in self.files(run_id, name))

    @override
    def fetch(self, run_id: str, name: str, to: Path) -> Path:
        for one in self.files(run_id):
            if one == name or one.startswith(f"{name}/"):
                (to / one).parent.mkdir(parents=True, exist_ok=True)
                (to / one).write_bytes(self._of(run_id).files[one])
        if not (to / name).exists():
            raise StoreError(f"store {self.settings}: run {run_id} has no file {shown(name)}")
        return to / name
