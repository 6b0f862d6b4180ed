"""A stand-in for MLflow's client: what a driver needs of a store that costs nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from lstm_sweep.search.store import artifacts


class Page(list[Any]):
    """Runs that were found, all of them."""

    token = None


class MemoryClient:
    """Runs in memory, without their metrics."""

    def __init__(self, client: Any, place: str) -> None:
        """`client` is asked for the experiment alone; `place` is that of the files of its runs."""
        self._client, self._place = client, place
        self._runs: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def create_run(
        self, experiment_id: str, start_time: int, tags: dict[str, str], run_name: str
    ) -> Any:
        """Make a run."""
        run_id = f"run{len(self._runs)}"
        info = SimpleNamespace(
            run_id=run_id, run_name=run_name, status="RUNNING", start_time=start_time,
            end_time=None, experiment_id=experiment_id,
            artifact_uri=artifacts.of_run(self._place, run_id),
        )  # fmt: skip
        data = SimpleNamespace(tags=dict(tags), params={}, metrics={})
        self._runs[run_id] = SimpleNamespace(info=info, data=data)
        return self._runs[run_id]

    def log_batch(self, run_id: str, metrics: Any, params: Any, tags: Any) -> None:
        """Keep tags, params, and the last value of each metric."""
        data = self._runs[run_id].data
        data.metrics |= {metric.key: metric.value for metric in metrics}
        data.params |= {param.key: param.value for param in params}
        data.tags |= {tag.key: tag.value for tag in tags}

    def set_terminated(self, run_id: str, status: str, end_time: int) -> None:
        """Give a run its last status."""
        info = self._runs[run_id].info
        info.status, info.end_time = status, end_time

    def update_run(self, run_id: str, status: str) -> None:
        """Give a run another status."""
        self._runs[run_id].info.status = status

    def get_run(self, run_id: str) -> Any:
        """A run."""
        return self._runs[run_id]

    def delete_tag(self, run_id: str, key: str) -> None:
        """Take a tag away."""
        del self._runs[run_id].data.tags[key]

    def log_inputs(self, run_id: str, datasets: Any) -> None:
        """Do nothing."""

    def search_runs(self, experiment_ids: Sequence[str], filter: str, **order: Any) -> Page:
        """Runs that have all tags of a filter, in the order in which they were made."""
        wanted = dict(re.findall(r"tags\.`([^`]*)` = '([^']*)'", filter))
        return Page(run for run in self._runs.values() if wanted.items() <= run.data.tags.items())
