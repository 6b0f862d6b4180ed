"""A sweep whose driver is killed at each write to its store, and whose store fails at each call.

All of it on a store in memory; on MLflow's a real process is killed at some of the writes. What a
store holds after a write is what it holds before the next one, so the moments before the first and
after each cover all.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.rounds import RoundDone
from lstm_sweep.search.driver.read_back import read_sweep
from lstm_sweep.search.driver.resume import rebuild
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.journal import WEIGHTS
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.store.writer import Writer
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.trial import Job, ranked
from tests.conftest import in_full
from tests.fakes import ScriptedEngine
from tests.sweeps import PLAIN, InlineWriter, LateWriter, store_in, sweep_of, tiny_spec

LOSSES = {0: [3.0, 2.5], 1: [2.6, 2.4], 2: [2.9, 2.8]}


class Recorded(MemoryStore):
    """A store that keeps what there is before its first write, and after each.

    That is the runs of the store, and the files of sweeps on this machine.
    """

    def __init__(self, files: Path, scratch: Path) -> None:
        super().__init__()
        self._files, self._scratch = files, scratch
        self.moments = list[tuple[MemoryStore, Path | None]]()

    def at(self, moment: int) -> MemoryStore:
        """What the store was at a moment, as the files are again."""
        store, files = self.moments[moment]
        shutil.rmtree(self._files, ignore_errors=True)
        if files:
            shutil.copytree(files, self._files)
        return store.copy()

    def recorded_at(self, moment: int) -> Recorded:
        """The same as a store that keeps its moments in turn."""
        other = Recorded(self._files, self._scratch)
        other._kept = self.at(moment)._kept
        return other

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        with super().writing():
            if not self.moments:
                self._note()
            yield
            self._note()

    def _note(self) -> None:
        copied = None
        if self._files.exists():
            copied = self._scratch / str(len([*self._scratch.iterdir()]))
            shutil.copytree(self._files, copied)
        self.moments.append((self.copy(), copied))


@dataclass
class Sweeps:
    """Sweeps on data that no test changes, and the trials of which each has begun."""

    corpus: Corpus
    data: str
    begun: set[int] = field(default_factory=set)
    #: what writes, if a test does not say it
    writer: type[Writer] = InlineWriter

    @property
    def spec(self) -> SweepSpec:
        return tiny_spec(data=self.data, trials=len(LOSSES), keep=1, **PLAIN)

    def drive(self, store: Store, engine: ScriptedEngine | None = None) -> None:
        """Begin the sweep of a store, or go on with it."""
        run = reader.find_sweep(store, "s")
        past = rebuild(store, run) if run else None
        spec = past.state.spec if past else self.spec
        engine, writer = engine or ScriptedEngine(LOSSES), self.writer
        sweep_of(store, self.corpus, engine, spec, past=past, writer=writer).run()


@pytest.fixture
def sweeps(corpus: Corpus, data: Path) -> Sweeps:
    return Sweeps(corpus, str(data))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without what other tests have left, since it is copied at each write."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "lstm-sweep"


@pytest.fixture
def recorded(cache: Path, tmp_path: Path) -> Recorded:
    (tmp_path / "moments").mkdir()
    return Recorded(cache, tmp_path / "moments")


def found(store: Store) -> dict[int, Any]:
    """What a sweep has found, as far as it may depend on nothing but its seed."""
    return {
        record.number: (
            record.config,
            record.seed,
            record.outcome,
            record.best_loss,
            store.history(record.run_id, "val_loss"),
            store.history(record.run_id, "train_loss"),
        )
        for record in reader.trials(store, "s")
    }


def check_whole(store: Store, cache: Path) -> None:
    """Nothing is lost, doubled, or left open, in the store and on this machine."""
    runs = store.runs()
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED", "FAILED"}
    trained = [run for run in runs if run.data.tags.get(Tag.PHASE) in reader.TRAINED]
    final = [run for run in trained if run.data.tags.get(Tag.UNFINISHED) != "yes"]
    assert Counter(int(run.data.tags[Tag.TRIAL]) for run in final) == dict.fromkeys(LOSSES, 1)
    attempts = Counter((run.data.tags[Tag.TRIAL], run.data.tags[Tag.ATTEMPT]) for run in trained)
    assert set(attempts.values()) == {1}
    assert sum(run.data.tags.get(Tag.PHASE) == "baseline" for run in runs) == 4
    [parent] = reader.sweeps(store)
    assert len(read_sweep(store, parent).baselines) == 4
    assert (parent.info.status, parent.data.tags[Tag.STATE]) == ("FINISHED", "finished")
    assert parent.data.tags[Tag.LEASE] == ""
    assert parent.data.metrics["trials_done"] == len(LOSSES)
    best = ranked(reader.trials(store, "s"))[0]
    kept = {run.info.run_id for run in trained if store.bytes_of(run.info.run_id, WEIGHTS)}
    assert kept == {best.run_id} and best.has_weights
    assert not (cache / parent.info.run_id).exists()


@pytest.mark.parametrize("writer", [InlineWriter, LateWriter])
def test_a_driver_killed_at_any_write_loses_nothing(
    sweeps: Sweeps, recorded: Recorded, cache: Path, writer: type[Writer]
) -> None:
    sweeps.writer = writer
    sweeps.drive(recorded)
    check_whole(recorded, cache)
    expected = found(recorded)
    assert len(recorded.moments) > 30
    for at in range(len(recorded.moments)):
        store = recorded.at(at)
        sweeps.drive(store)
        assert found(store) == expected, f"after write {at}"
        check_whole(store, cache)


@pytest.mark.parametrize("every", [6, *in_full(1)])
def test_a_driver_killed_while_it_takes_a_sweep_up_loses_nothing(
    sweeps: Sweeps, recorded: Recorded, cache: Path, every: int
) -> None:
    sweeps.drive(recorded)
    expected = found(recorded)
    for first in range(5, len(recorded.moments), 10 * every):
        again = recorded.recorded_at(first)
        sweeps.drive(again)
        for at in range(0, len(again.moments), every):
            store = again.at(at)
            sweeps.drive(store)
            assert found(store) == expected, f"after writes {first} and {at}"
            check_whole(store, cache)


class Failing(MemoryStore):
    """A store whose calls fail from one of them on, or that one alone; 0: none fails."""

    def __init__(self, at: int = 0, *, for_good: bool = False) -> None:
        super().__init__()
        self.at, self.for_good, self.calls = at, for_good, 0

    def __getattribute__(self, name: str) -> Any:
        given = super().__getattribute__(name)
        if name not in Store.__abstractmethods__:
            return given

        def call(*arguments: Any, **more: Any) -> Any:
            self.calls += 1
            if self.calls == self.at or (self.for_good and self.calls > self.at > 0):
                raise StoreError("no space left on device")
            return given(*arguments, **more)

        return call


class Checkpointing(ScriptedEngine):
    """Trials that leave a checkpoint, and find it when they go on; `begun` are their numbers."""

    def __init__(self, begun: set[int], **more: Any) -> None:
        super().__init__(LOSSES, **more)
        self._begun = begun

    def start(self, job: Job) -> None:
        """Look for the checkpoint of an earlier attempt, and write one."""
        file = job.folder / "checkpoint"
        assert file.exists() == (job.trial.number in self._begun)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"hours of work")
        self._begun.add(job.trial.number)
        super().start(job)


def break_off(sweeps: Sweeps, store: Store) -> None:
    """Have a sweep interrupted in its second trial; the third has not begun."""
    rounds = itertools.count(1)

    def watch(message: RoundDone) -> None:
        if next(rounds) == 3:
            raise KeyboardInterrupt

    sweeps.begun.clear()
    with pytest.raises(KeyboardInterrupt):
        sweeps.drive(store, Checkpointing(sweeps.begun, watch=watch))


@pytest.mark.parametrize("every", [7, *in_full(1)])
@pytest.mark.parametrize("for_good", [False, True])
def test_a_sweep_that_goes_on_loses_nothing_when_its_store_fails_at_any_call(
    sweeps: Sweeps, cache: Path, for_good: bool, every: int
) -> None:
    def go_on(store: Failing, at: int = 0) -> None:
        store.at, store.for_good, store.calls = at, for_good, 0
        sweeps.drive(store, Checkpointing(sweeps.begun))

    whole = Failing()
    break_off(sweeps, whole)
    go_on(whole)
    check_whole(whole, cache)
    expected, calls = found(whole), whole.calls
    assert calls > 20
    for at in range(1, calls + 1, every):
        store = Failing()
        break_off(sweeps, store)
        with contextlib.suppress(StoreError):
            go_on(store, at)
        store.at = 0
        [parent] = reader.sweeps(store)
        for record in reader.trials(store, "s"):
            number, is_open = record.number, record.outcome == ""
            if number in sweeps.begun and (is_open or record.tags.get(Tag.UNFINISHED) == "yes"):
                checkpoint = cache / parent.info.run_id / str(number) / "checkpoint"
                assert checkpoint.exists(), f"call {at}: trial {number}"
        go_on(store)
        assert found(store) == expected, f"call {at}"
        check_whole(store, cache)


def test_a_sweep_that_begins_loses_nothing_when_a_call_of_its_store_fails(
    sweeps: Sweeps, cache: Path
) -> None:
    whole = Failing()
    sweeps.drive(whole)
    expected = found(whole)
    for at in range(1, whole.calls + 1, 7):
        store = Failing(at)
        with contextlib.suppress(StoreError):
            sweeps.drive(store)
        store.at = 0
        sweeps.drive(store)
        assert found(store) == expected, f"call {at}"
        check_whole(store, cache)


# --- MLflow's store -------------------------------------------------------------------------------

WRITES = (
    "create_run", "log_batch", "set_terminated", "update_run", "delete_tag", "log_inputs",
    "log_artifact",
)  # fmt: skip


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


def drive_in(folder: Path, sweeps: Sweeps, at: int = -1, *, after: bool = False) -> Deadly:
    """Begin the sweep of a folder, or go on with it, and be killed at a write."""
    store = store_in(folder)
    store.client = client = Deadly(store.client, at, after=after)
    vars(store)["_files_of"] = client.files(store._files_of)
    sweeps.drive(store)
    return client


def kill_in(folder: Path, sweeps: Sweeps, at: int, *, after: bool) -> None:
    """The same in a fork that is killed."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            drive_in(folder, sweeps, at, after=after)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL, f"write {at}"


@pytest.mark.full
def test_a_process_killed_at_some_writes_to_a_database_loses_nothing(
    sweeps: Sweeps, workplace: Callable[[str], Path], cache: Path
) -> None:
    whole = workplace("whole")
    writes = drive_in(whole, sweeps).writes
    expected = found(store_in(whole))
    check_whole(store_in(whole), cache)
    for at, after in zip(range(1, writes + 1, 5), itertools.cycle((False, True)), strict=False):
        broken = workplace("broken")
        kill_in(broken, sweeps, at, after=after)
        drive_in(broken, sweeps)
        assert found(store_in(broken)) == expected, f"write {at}, after: {after}"
        check_whole(store_in(broken), cache)
