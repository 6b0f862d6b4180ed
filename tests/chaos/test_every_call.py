"""A sweep whose driver is killed before and after every single call that writes to the store.

What the store holds after a write is what it holds before the next one, so the test that always
runs kills before the first and after each; `make chaos` kills before and after all of them.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from models.corpus import Corpus
from search import archive
from search.resume import rebuild
from search.spec import SweepSpec
from search.tracking import Store
from search.trial import Outcome
from tests.fakes import ScriptedEngine
from tests.sweeps import PLAIN, store_in, sweep_of, tiny_spec

WRITES = (
    "create_run", "log_batch", "set_terminated", "update_run", "delete_tag", "log_inputs",
    "log_artifact",
)  # fmt: skip
#: whether `make chaos` is running
ALL = "CHAOS_KILLS" in os.environ
LOSSES = {0: [3.0, 2.5], 1: [2.6, 2.4]} | ({2: [2.9, 2.8]} if ALL else {})


class Deadly:
    """An MLflow client that kills its process before or after one of its writes."""

    def __init__(self, client: Any, at: int = -1, *, after: bool = False) -> None:
        self._client, self._at, self._after = client, at, after
        self.writes = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        return self._deadly(method) if name in WRITES else method

    def files(self, open_files: Callable[[str], Any]) -> Callable[[str], Any]:
        """What opens the files of runs, so that writing one is a write too."""

        def open_deadly(run_id: str) -> Any:
            files = open_files(run_id)
            files.log_artifact = self._deadly(files.log_artifact)
            return files

        return open_deadly

    def _deadly(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def write(*args: Any, **kwargs: Any) -> Any:
            self.writes += 1
            if self.writes == self._at and not self._after:
                os.kill(os.getpid(), signal.SIGKILL)
            answer = method(*args, **kwargs)
            if self.writes == self._at:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        return write


@dataclass
class Place:
    """A folder with a store, and the data of a sweep."""

    folder: Path
    corpus: Corpus
    spec: SweepSpec

    def store(self) -> Store:
        return store_in(self.folder)

    def drive(self, at: int = -1, *, after: bool = False) -> Deadly:
        """Begin the sweep, or go on with it, and be killed at a write."""
        store = self.store()
        run = archive.find_sweep(store, "s")
        store.client = client = Deadly(store.client, at, after=after)
        vars(store)["_files_of"] = client.files(store._files_of)
        past = rebuild(store, run) if run else None
        spec = past.spec if past else self.spec
        sweep_of(store, self.corpus, ScriptedEngine(LOSSES), spec, past=past).run()
        return client


@pytest.fixture(scope="module")
def place(data: Path, corpus: Corpus, workplace: Callable[[str], Path]) -> Callable[[str], Place]:
    spec = tiny_spec(data=str(data), trials=len(LOSSES), keep=1, **PLAIN)
    return lambda name: Place(workplace(name), corpus, spec)


def _in_a_process(call: Callable[[], object]) -> int:
    """Call in a fork; return its exit code, negative if it was killed."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            call()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _finished(store: Store) -> dict[int, Any]:
    """What a sweep has found, as far as it may depend on nothing but its seed."""
    return {
        record.trial.number: (
            record.trial.config,
            record.trial.seed,
            record.outcome,
            record.best_val_loss,
            store.history(record.run_id, "val_loss"),
            store.history(record.run_id, "train_loss"),
        )
        for record in archive.trials(store, "s")
    }


def _check(store: Store, cache: Path) -> None:
    """Nothing is lost, doubled, or left open."""
    runs = store.runs()
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}
    trained = [run for run in runs if run.data.tags.get("sweep.phase") in archive.TRAINED]
    final = [run for run in trained if run.data.tags["sweep.outcome"] != Outcome.LOST]
    assert Counter(int(run.data.tags["sweep.trial"]) for run in final) == dict.fromkeys(LOSSES, 1)
    attempts = Counter((r.data.tags["sweep.trial"], r.data.tags["sweep.attempt"]) for r in trained)
    assert set(attempts.values()) == {1}
    assert len(archive.baselines(store, "s")) == 3
    assert sum(run.data.tags.get("sweep.phase") == "baseline" for run in runs) == 3
    [parent] = archive.sweeps(store)
    assert (parent.info.status, parent.data.tags["sweep.state"]) == ("FINISHED", "finished")
    assert parent.data.metrics["trials_done"] == len(LOSSES)
    best = archive.ranked(archive.trials(store, "s"))[0]
    kept = {r.info.run_id for r in trained if store.client.list_artifacts(r.info.run_id, "model")}
    assert kept == {best.run_id}
    assert best.has_weights
    assert not (cache / parent.info.run_id).exists()


@pytest.mark.timeout(900)
def test_a_driver_killed_at_any_write_loses_nothing(
    place: Callable[[str], Place], cache: Path
) -> None:
    whole = place("whole")
    writes = whole.drive().writes
    expected = _finished(whole.store())
    _check(whole.store(), cache)
    assert writes > 30
    for at, after in itertools.product(range(1, writes + 1), (False, True)):
        if not (after or at == 1 or ALL):
            continue
        broken = place("broken")
        _kill(broken, at, after=after)
        broken.drive()
        assert _finished(broken.store()) == expected, f"write {at}, after: {after}"
        _check(broken.store(), cache)
        shutil.rmtree(broken.folder)


@pytest.mark.timeout(900)
def test_a_driver_killed_while_it_takes_a_sweep_up_loses_nothing(
    place: Callable[[str], Place], cache: Path
) -> None:
    whole = place("whole")
    whole.drive()
    expected = _finished(whole.store())
    broken = place("broken")
    _kill(broken, 25, after=True)
    writes = broken.drive().writes
    assert writes > 20
    for at in range(1, writes + 1 if ALL else 9):
        broken = place("broken")
        _kill(broken, 25, after=True)
        _kill(broken, at, after=True)
        broken.drive()
        assert _finished(broken.store()) == expected, f"write {at}"
        _check(broken.store(), cache)
        shutil.rmtree(broken.folder)


def _kill(broken: Place, at: int, *, after: bool) -> None:
    code = _in_a_process(lambda: broken.drive(at, after=after))
    assert code == -signal.SIGKILL, f"write {at}"
