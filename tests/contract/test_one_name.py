"""Two real drivers that begin a sweep of one name at once, on one SQLite file."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.driver.lease import OWNS_NAME
from lstm_sweep.search.driver.resume import rebuild
from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.driver.sweep import NameTakenError
from lstm_sweep.search.store import base, reader
from lstm_sweep.search.store.tracking import Store
from tests.fakes import ScriptedEngine
from tests.sweeps import LOSSES, PLAIN, store_in, sweep_of, tiny_spec


class Late:
    """An MLflow client whose first call of one kind is sent late."""

    def __init__(self, client: Any, name: str, until: threading.Event) -> None:
        self._client, self._name, self._until = client, name, until
        #: the call is about to be sent
        self.begun = threading.Event()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if name == self._name:
                self.begun.set()
                assert self._until.wait(120)
            return method(*args, **kwargs)

        return call


@pytest.fixture
def folder(workplace: Callable[[str], Path]) -> Path:
    return workplace("one_name")


@pytest.fixture
def drive(corpus: Corpus, data: Path) -> Callable[..., SweepState]:
    def drive(store: Store, **watch: Any) -> SweepState:
        spec = tiny_spec(data=str(data), trials=2, **PLAIN)
        return sweep_of(store, corpus, ScriptedEngine(LOSSES, **watch), spec).run()

    return drive


def test_a_driver_whose_request_comes_late_gives_way_though_its_clock_is_before(
    folder: Path, drive: Callable[..., SweepState], monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = threading.Event()
    store = store_in(folder)
    store.prepare()
    late = store_in(folder)
    late.client = slow = Late(late.client, "create_run", claimed)
    refused: list[BaseException] = []

    def begin() -> None:
        try:
            drive(late)
        except NameTakenError as error:
            refused.append(error)

    other = threading.Thread(target=begin)
    other.start()
    assert slow.begun.wait(120)  # it has noted when it began
    now = base.now_ms
    monkeypatch.setattr(base, "now_ms", lambda: now() + 60_000)

    def meet(message: Any) -> None:
        claimed.set()
        other.join(120)
        assert not other.is_alive()

    state = drive(store, watch=meet)
    assert (state.status, state.counts) == ("finished", {"complete": 2})
    assert [str(error) for error in refused] == ["sweep 's' was begun by another at the same time"]
    [parent] = reader.sweeps(store)
    assert (parent.info.run_id, parent.info.status) == (state.run_id, "FINISHED")
    assert parent.data.params[OWNS_NAME] == "yes"
    assert "RUNNING" not in {run.info.status for run in store.runs()}
    assert len(reader.trials(store, "s")) == 2


def test_of_many_that_write_a_value_once_at_the_same_time_one_succeeds(folder: Path) -> None:
    stores = [store_in(folder) for _ in range(4)]
    stores[0].prepare()
    for _ in range(5):
        run_id = stores[0].create_run("r", {})
        together = threading.Barrier(len(stores))
        wrote: dict[str, bool] = {}

        def write(
            store: Store,
            value: str,
            run_id: str = run_id,
            together: threading.Barrier = together,
            wrote: dict[str, bool] = wrote,
        ) -> None:
            together.wait(60)
            wrote[value] = store.log_once(run_id, "k", value)

        threads = [
            threading.Thread(target=write, args=(store, str(number)))
            for number, store in enumerate(stores)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        kept = stores[0].run(run_id).data.params["k"]
        assert wrote == {str(number): str(number) == kept for number in range(len(stores))}
        assert stores[0].log_once(run_id, "k", kept)


def test_a_sweep_that_was_broken_off_before_it_had_its_name_claims_it_when_it_goes_on(
    folder: Path, drive: Callable[..., SweepState], corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lstm_sweep.search.driver.sweep.reserve_name", interrupt)
        with pytest.raises(KeyboardInterrupt):
            drive(store_in(folder))
    store = store_in(folder)
    past = rebuild(store, reader.existing_sweep(store, "s"))
    assert past.is_unclaimed
    refused: list[NameTakenError] = []

    def go_on(message: Any) -> None:
        with pytest.raises(NameTakenError) as caught:
            spec, engine = past.state.spec, ScriptedEngine(LOSSES)
            sweep_of(store_in(folder), corpus, engine, spec, past=past).run()
        refused.append(caught.value)

    state = drive(store, watch=_once(go_on))
    assert len(refused) == 1
    assert state.counts == {"complete": 2}
    assert [run.info.run_id for run in reader.sweeps(store)] == [state.run_id]


def _once(do: Callable[[Any], None]) -> Callable[[Any], None]:
    """Do something the first time only."""
    left = [do]
    return lambda message: left.pop()(message) if left else None
