"""A sweep whose driver is killed before and after every single call that writes to the store.

What the store holds after a write is what it holds before the next one, so kills before the first
write and after each would cover all of them; before each is tried as well.
"""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.tracking import MlflowStore
from lstm_sweep.search.sweep.resume import rebuild
from lstm_sweep.search.trial import Job, RoundDone
from tests.fakes import ScriptedEngine
from tests.sweeps import PLAIN, store_in, sweep_of, tiny_spec

WRITES = (
    "create_run", "log_batch", "set_terminated", "update_run", "delete_tag", "log_inputs",
    "log_artifact",
)  # fmt: skip
LOSSES = {0: [3.0, 2.5], 1: [2.6, 2.4], 2: [2.9, 2.8]}

pytestmark = pytest.mark.full


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
    data: str
    losses: dict[int, list[float]]

    @property
    def spec(self) -> SweepSpec:
        return tiny_spec(data=self.data, trials=len(self.losses), keep=1, **PLAIN)

    def store(self) -> MlflowStore:
        return store_in(self.folder)

    def drive(self, at: int = -1, *, after: bool = False) -> Deadly:
        """Begin the sweep, or go on with it, and be killed at a write."""
        store = self.store()
        run = reader.find_sweep(store, "s")
        store.client = client = Deadly(store.client, at, after=after)
        vars(store)["_files_of"] = client.files(store._files_of)
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


def _finished(store: MlflowStore) -> dict[int, Any]:
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
        for record in reader.trials(store, "s")
    }


def _check(place: Place, cache: Path) -> None:
    """Nothing is lost, doubled, or left open."""
    store, trials = place.store(), place.losses
    runs = store.runs()
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED", "FAILED"}
    trained = [run for run in runs if run.data.tags.get("sweep.phase") in reader.TRAINED]
    final = [run for run in trained if "sweep.unfinished" not in run.data.tags]
    assert Counter(int(run.data.tags["sweep.trial"]) for run in final) == dict.fromkeys(trials, 1)
    attempts = Counter((r.data.tags["sweep.trial"], r.data.tags["sweep.attempt"]) for r in trained)
    assert set(attempts.values()) == {1}
    assert len(reader.baselines(store, "s")) == 4
    assert sum(run.data.tags.get("sweep.phase") == "baseline" for run in runs) == 4
    [parent] = reader.sweeps(store)
    assert (parent.info.status, parent.data.tags["sweep.state"]) == ("FINISHED", "finished")
    assert parent.data.metrics["trials_done"] == len(trials)
    best = reader.ranked(reader.trials(store, "s"))[0]
    kept = {r.info.run_id for r in trained if store.client.list_artifacts(r.info.run_id, "model")}
    assert kept == {best.run_id}
    assert best.has_weights
    assert not (cache / parent.info.run_id).exists()


@pytest.mark.timeout(900)
def test_a_driver_killed_at_any_write_loses_nothing(
    place: Callable[..., Place], cache: Path
) -> None:
    whole = place("whole", LOSSES)
    writes = whole.drive().writes
    expected = _finished(whole.store())
    _check(whole, cache)
    assert writes > 30
    for at, after in itertools.product(range(1, writes + 1), (False, True)):
        broken = place("broken", LOSSES)
        _kill(broken, at, after=after)
        broken.drive()
        assert _finished(broken.store()) == expected, f"write {at}, after: {after}"
        _check(broken, cache)
        shutil.rmtree(broken.folder)


@pytest.mark.timeout(900)
def test_a_driver_killed_while_it_takes_a_sweep_up_loses_nothing(
    place: Callable[..., Place], cache: Path
) -> None:
    whole = place("whole", LOSSES)
    whole.drive()
    expected = _finished(whole.store())
    broken = place("broken", LOSSES)
    _kill(broken, 25, after=True)
    writes = broken.drive().writes
    assert writes > 20
    for at in range(1, writes + 1):
        broken = place("broken", LOSSES)
        _kill(broken, 25, after=True)
        _kill(broken, at, after=True)
        broken.drive()
        assert _finished(broken.store()) == expected, f"write {at}"
        _check(broken, cache)
        shutil.rmtree(broken.folder)


def _kill(broken: Place, at: int, *, after: bool) -> None:
    code = _in_a_process(lambda: broken.drive(at, after=after))
    assert code == -signal.SIGKILL, f"write {at}"


class Failing:
    """An MLflow client whose calls fail from one of them on, or that one alone."""

    def __init__(self, client: Any, at: int, *, for_good: bool) -> None:
        self._client, self._at, self._for_good = client, at, for_good
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.calls == self._at or (self._for_good and self.calls > self._at > 0):
                raise OSError(errno.ENOSPC, "no space left on device")
            return method(*args, **kwargs)

        return call


class Checkpointing(ScriptedEngine):
    """Trials that leave a checkpoint, and find it when they go on; `begun` are their numbers."""

    def __init__(self, begun: set[int], **more: Any) -> None:
        super().__init__(GOING_ON, **more)
        self._begun = begun

    def start(self, job: Job) -> None:
        """Look for the checkpoint of an earlier attempt, and write one."""
        file = job.folder / "checkpoint"
        assert file.exists() == (job.trial.number in self._begun)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"hours of work")
        self._begun.add(job.trial.number)
        super().start(job)


#: the second is under way when the sweep is broken off, the third has not begun
GOING_ON = {0: [3.0, 2.5], 1: [2.6, 2.4], 2: [2.9, 2.8]}


def _broken_off(place: Place) -> set[int]:
    """A sweep that was interrupted in its second trial; return the trials that were begun."""
    begun: set[int] = set()
    epochs = itertools.count(1)

    def watch(message: RoundDone) -> None:
        if next(epochs) == 3:
            raise KeyboardInterrupt

    engine = Checkpointing(begun, watch=watch)
    with pytest.raises(KeyboardInterrupt):
        sweep_of(place.store(), place.corpus, engine, place.spec).run()
    return begun


def _go_on(place: Place, begun: set[int], at: int = 0, *, for_good: bool = False) -> int:
    """Go on with it in a store of which a call fails; return how many were made."""
    store = place.store()
    store.client = client = Failing(store.client, at, for_good=for_good)
    past = rebuild(store, reader.find_sweep(store, "s"))
    engine = Checkpointing(begun)
    sweep_of(store, place.corpus, engine, past.spec, past=past).run()
    return int(client.calls)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("for_good", [False, True])
def test_a_sweep_that_goes_on_loses_nothing_when_its_store_fails_at_any_call(
    place: Callable[..., Place], cache: Path, for_good: bool
) -> None:
    whole = place("whole", GOING_ON)
    calls = _go_on(whole, _broken_off(whole))
    _check(whole, cache)
    expected = _finished(whole.store())
    assert calls > 20
    for at in range(1, calls + 1):
        broken = place("broken", GOING_ON)
        begun = _broken_off(broken)
        with suppress(StoreError):
            _go_on(broken, begun, at, for_good=for_good)
        _check_left(broken.store(), cache / _sweep_run(broken), begun, at)
        _go_on(broken, begun)
        assert _finished(broken.store()) == expected, f"call {at}"
        _check(broken, cache)
        shutil.rmtree(broken.folder)


def _sweep_run(place: Place) -> str:
    [parent] = reader.sweeps(place.store())
    return str(parent.info.run_id)


def _check_left(store: MlflowStore, folder: Path, begun: set[int], at: int) -> None:
    """What a failed try to go on has left: the checkpoint of each trial that has not ended."""
    for record in reader.trials(store, "s"):
        number = record.trial.number
        if number in begun and (record.outcome == "" or "sweep.unfinished" in record.tags):
            assert (folder / str(number) / "checkpoint").exists(), f"call {at}: trial {number}"
