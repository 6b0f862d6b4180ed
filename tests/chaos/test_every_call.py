"""A sweep whose driver is killed before and after every single call that writes to the store.

What the store holds after a write is what it holds before the next one, so kills before the first
write and after each cover all of them. `make test` kills at every third; `make test-all` at each of
them, with one trial more, and before each as well.
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
    "log_artifact", "log_text",
)  # fmt: skip
TWO_TRIALS = {0: [3.0, 2.5], 1: [2.6, 2.4]}
THREE_TRIALS = TWO_TRIALS | {2: [2.9, 2.8]}
#: some writes of a short sweep, and all of a longer one
EXTENTS = pytest.mark.parametrize(
    "losses", [TWO_TRIALS, pytest.param(THREE_TRIALS, marks=pytest.mark.full)], ids=["some", "all"]
)


class Deadly:
    """An MLflow client that kills its process before or after one of its writes."""

    def __init__(self, client: Any, at: int = -1, *, after: bool = False) -> None:
        self._client, self._at, self._after = client, at, after
        self.writes = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if name not in WRITES:
            return method

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
    data: str
    losses: dict[int, list[float]]

    @property
    def spec(self) -> SweepSpec:
        return tiny_spec(data=self.data, trials=len(self.losses), keep=1, **PLAIN)

    def store(self) -> Store:
        return store_in(self.folder)

    def drive(self, at: int = -1, *, after: bool = False) -> Deadly:
        """Begin the sweep, or go on with it, and be killed at a write."""
        store = self.store()
        run = archive.find_sweep(store, "s")
        store.client = client = Deadly(store.client, at, after=after)
        past = rebuild(store, run) if run else None
        spec = past.spec if past else self.spec
        sweep_of(store, self.corpus, ScriptedEngine(self.losses), spec, past=past).run()
        return client


@pytest.fixture(scope="module")
def place(data: Path, corpus: Corpus, workplace: Callable[[str], Path]) -> Callable[..., Place]:
    return lambda name, losses: Place(workplace(name), corpus, str(data), losses)


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


def _check(place: Place, cache: Path) -> None:
    """Nothing is lost, doubled, or left open."""
    store, trials = place.store(), place.losses
    runs = store.runs()
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}
    trained = [run for run in runs if run.data.tags.get("sweep.phase") in archive.TRAINED]
    final = [run for run in trained if run.data.tags["sweep.outcome"] != Outcome.LOST]
    assert Counter(int(run.data.tags["sweep.trial"]) for run in final) == dict.fromkeys(trials, 1)
    attempts = Counter((r.data.tags["sweep.trial"], r.data.tags["sweep.attempt"]) for r in trained)
    assert set(attempts.values()) == {1}
    assert len(archive.baselines(store, "s")) == 3
    assert sum(run.data.tags.get("sweep.phase") == "baseline" for run in runs) == 3
    [parent] = archive.sweeps(store)
    assert (parent.info.status, parent.data.tags["sweep.state"]) == ("FINISHED", "finished")
    assert parent.data.metrics["trials_done"] == len(trials)
    best = archive.ranked(archive.trials(store, "s"))[0]
    kept = {r.info.run_id for r in trained if store.client.list_artifacts(r.info.run_id, "model")}
    assert kept == {best.run_id}
    assert best.has_weights
    assert not (cache / parent.info.run_id).exists()


@pytest.mark.timeout(900)
@EXTENTS
def test_a_driver_killed_at_any_write_loses_nothing(
    place: Callable[..., Place], cache: Path, losses: dict[int, list[float]]
) -> None:
    whole = place("whole", losses)
    writes = whole.drive().writes
    expected = _finished(whole.store())
    _check(whole, cache)
    assert writes > 30
    kills = [(1, False), *((at, True) for at in range(1, writes + 1, 3))]
    if losses is THREE_TRIALS:
        kills = list(itertools.product(range(1, writes + 1), (False, True)))
    for at, after in kills:
        broken = place("broken", losses)
        _kill(broken, at, after=after)
        broken.drive()
        assert _finished(broken.store()) == expected, f"write {at}, after: {after}"
        _check(broken, cache)
        shutil.rmtree(broken.folder)


@pytest.mark.timeout(900)
@EXTENTS
def test_a_driver_killed_while_it_takes_a_sweep_up_loses_nothing(
    place: Callable[..., Place], cache: Path, losses: dict[int, list[float]]
) -> None:
    whole = place("whole", losses)
    whole.drive()
    expected = _finished(whole.store())
    broken = place("broken", losses)
    _kill(broken, 25, after=True)
    writes = broken.drive().writes
    assert writes > 20
    kills = range(1, writes + 1) if losses is THREE_TRIALS else range(1, 9, 3)
    for at in kills:
        broken = place("broken", losses)
        _kill(broken, 25, after=True)
        _kill(broken, at, after=True)
        broken.drive()
        assert _finished(broken.store()) == expected, f"write {at}"
        _check(broken, cache)
        shutil.rmtree(broken.folder)


def _kill(broken: Place, at: int, *, after: bool) -> None:
    code = _in_a_process(lambda: broken.drive(at, after=after))
    assert code == -signal.SIGKILL, f"write {at}"
