"""A store of which one request fails, at each in turn, and the same call again in one process."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.search.actions import references, rerun
from lstm_sweep.search.actions.lifecycle import SweepFailedError
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.actions.references import SweepExistsError
from lstm_sweep.search.driver import lease
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tracking import MlflowStore
from tests.conftest import in_full
from tests.contract.sittings import after, interrupt
from tests.fakes import ScriptedEngine
from tests.sweeps import PLAIN, store_in, tiny_spec

LOSSES = {0: [3.0], 1: [2.6]}
SPEC: dict[str, Any] = PLAIN | {"trials": 2, "epochs": 1, "name": "s"}
FAILURES = (StoreError, SweepFailedError)

#: `make test` lets each thirteenth request fail; each is on a store in memory, in `tests/chaos`
STEPS = pytest.mark.parametrize("step", [13, *in_full(3)])


class Requests:
    """Counts the requests to stores, and lets one of them fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ask, self._fails, self.made = MlflowStore.ask, 0, 0

        def count(store: MlflowStore, call: Callable[[], Any]) -> Any:
            self.made += 1
            if self.made == self._fails:
                raise StoreError("the store does not answer: timeout")
            return ask(store, call)

        monkeypatch.setattr(MlflowStore, "ask", count)

    def each(self, made: int, step: int) -> Iterator[int]:
        """Let each request fail that was made by a call that was not disturbed, or some of them."""
        for number in range(made, 0, -step):
            self.made, self._fails = 0, number
            yield number
        self._fails = 0

    def counted(self, call: Callable[[], Any]) -> int:
        """How many requests a call makes."""
        self.made, self._fails = 0, 0
        call()
        return self.made

    def undisturbed(self) -> None:
        """Let all that follow succeed."""
        self._fails = 0


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Requests:
    monkeypatch.setattr(references, "open_engine", lambda name, **more: ScriptedEngine(LOSSES))
    monkeypatch.setattr(rerun, "open_engine", lambda name, **more: ScriptedEngine(LOSSES))
    return Requests(monkeypatch)


@pytest.fixture
def begun(workplace: Callable[[str], Path], data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose store has a sweep that was interrupted in its second trial."""
    folder = workplace("begun")
    engine = ScriptedEngine(LOSSES, watch=after(2, interrupt))
    with monkeypatch.context() as patch:
        patch.setattr(references, "open_engine", lambda name, **more: engine)
        with pytest.raises(KeyboardInterrupt):
            launch(store_in(folder).settings, data)
    return folder


def launch(settings: Settings, data: Path) -> None:
    Local(settings).launch(tiny_spec(data=str(data), **SPEC))


def resume(settings: Settings) -> None:
    Local(settings).resume("s", {})


def copy_of(begun: Path, folder: Path) -> Settings:
    begun_db, own_db = (sqlite3.connect(one / "mlflow.db") for one in (begun, folder))
    with closing(begun_db), closing(own_db):
        begun_db.backup(own_db)  # with what is in its log
    return store_in(folder).settings


def found(settings: Settings) -> list[tuple[Any, ...]]:
    """What a sweep has found, once all of its runs are closed and nobody drives it."""
    store = MlflowStore(settings)
    [parent] = reader.sweeps(store)
    assert (parent.info.status, parent.data.tags["sweep.state"]) == ("FINISHED", "finished")
    assert {run.info.status for run in store.runs()} <= {"FINISHED", "KILLED", "FAILED"}
    assert lease.find_driver(store, parent.info.run_id) is None
    return [
        (one.number, one.config, one.seed, one.outcome, one.best_loss)
        for one in reader.trials(store, "s")
    ]


def driven(settings: Settings) -> bool:
    """Whether somebody drives a sweep, as `resume` and `stop` look for it."""
    store = MlflowStore(settings)
    return any(lease.find_driver(store, run.info.run_id) for run in reader.sweeps(store))


@STEPS
@pytest.mark.parametrize("goes_on", [False, True], ids=["launch", "resume"])
def test_a_launch_or_resume_that_failed_leaves_what_can_go_on(
    workplace: Callable[[str], Path],
    begun: Path,
    data: Path,
    requests: Requests,
    goes_on: bool,
    step: int,
) -> None:
    def prepared(name: str) -> Settings:
        folder = workplace(name)
        return copy_of(begun, folder) if goes_on else store_in(folder).settings

    def call(settings: Settings) -> None:
        resume(settings) if goes_on else launch(settings, data)

    whole = prepared("whole")
    made = requests.counted(lambda: call(whole))
    expected = found(whole)
    assert made > 20 and len(expected) == 2
    for number in requests.each(made, step):
        settings = prepared("broken")
        with suppress(*FAILURES):
            call(settings)
        requests.undisturbed()
        assert not driven(settings), f"request {number}"
        try:
            call(settings)
        except SweepExistsError:
            resume(settings)
        assert found(settings) == expected, f"request {number}"


@STEPS
def test_a_rerun_that_failed_can_be_called_again(
    workplace: Callable[[str], Path], begun: Path, requests: Requests, step: int
) -> None:
    settings = copy_of(begun, workplace("rerun"))
    resume(settings)

    def rerun() -> None:
        assert Local(settings).rerun("s/1").verdict == "identical"

    made = requests.counted(rerun)
    assert made > 10
    for number in requests.each(made, step):
        with suppress(*FAILURES):
            rerun()
        requests.undisturbed()
        rerun()
        runs = MlflowStore(settings).runs({"sweep.phase": "rerun"})
        assert {run.info.status for run in runs} <= {"FINISHED", "FAILED", "KILLED"}, (
            f"request {number}"
        )
