"""A rerun whose store fails while it trains: a server that is down, a full disk."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.actions.rerun import train_again
from lstm_sweep.search.driver.lease import Lease
from lstm_sweep.search.engines.base import SlotLost
from lstm_sweep.search.process.signals import Interrupted, Shield
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tracking import MlflowStore, Store
from lstm_sweep.search.values.trial import RoundDone, Slot
from tests.contract.four_trials import Listening
from tests.fakes import ScriptedCluster, ScriptedEngine
from tests.servers import Server
from tests.sweeps import LOSSES, PLAIN, store_in, sweep_of, tiny_spec

SLOT, GONE = Slot(0, core=0, node="node-0"), SlotLost("its node has left the cluster")


class Waiting(Listening):
    """Calls `at_outage` when the store is waited for the first time."""

    def __init__(self, at_outage: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self._at_outage = at_outage

    @property
    def waits(self) -> list[str]:
        """What it was told of a store that does not answer."""
        return [text for text in self.told if text.startswith("the store does not answer")]

    def said(self, text: str) -> None:
        super().said(text)
        if self.waits == [text]:
            self._at_outage()


def one_trial(store: Store, corpus: Corpus, data: Path) -> TrialRecord:
    """The trial of a sweep that has ended."""
    spec = tiny_spec(data=str(data), trials=1, **PLAIN)
    sweep_of(store, corpus, ScriptedEngine(LOSSES), spec).run()
    [record] = reader.trials(store, "s")
    return record


def reruns(store: Store) -> list[tuple[str, str | None, str | None]]:
    """Status, outcome and reason of each run that a rerun has made."""
    return [
        (run.info.status, run.data.tags.get("sweep.outcome"), run.data.tags.get("sweep.reason"))
        for run in store.runs({"sweep.phase": "rerun"})
    ]


def killing(server: Server) -> Callable[[RoundDone], None]:
    """Kills a server when the first epoch is reported."""

    def kill(done: RoundDone) -> None:
        if done.number == 1:
            server.kill()

    return kill


@pytest.fixture
def server(workplace: Callable[[str], Path]) -> Iterator[Server]:
    started = Server(workplace("rerun"))
    started.start()
    yield started
    started.stop()


@pytest.mark.full
def test_a_rerun_waits_for_a_server_that_is_down_for_a_while(
    server: Server, corpus: Corpus, data: Path
) -> None:
    store = MlflowStore(Settings(server.address, None, "outage", "test"))
    record = one_trial(store, corpus, data)
    restart = threading.Thread(target=server.start)
    engine = ScriptedEngine(LOSSES, watch=killing(server))
    observer = Waiting(at_outage=restart.start)
    again = train_again(store, record, engine, {}, observer=observer)
    restart.join()
    assert observer.waits
    assert again.verdict == "identical"
    assert reruns(store) == [("FINISHED", "complete", "")]
    assert store.history(again.rerun_run_id, "val_loss") == dict(enumerate(LOSSES[0], start=1))


@pytest.mark.full
def test_ctrl_c_ends_a_rerun_whose_server_is_down_and_the_next_one_closes_its_run(
    server: Server, corpus: Corpus, data: Path
) -> None:
    store = MlflowStore(Settings(server.address, None, "outage", "test"))
    record = one_trial(store, corpus, data)
    engine = ScriptedEngine(LOSSES, watch=killing(server))
    observer = Waiting(at_outage=lambda: os.kill(os.getpid(), signal.SIGINT))
    shield = Shield()
    with pytest.raises(Interrupted) as caught, shield.up():
        train_again(store, record, engine, {}, observer=observer, interrupts=shield)
    assert caught.value.code == 130
    assert "was left open" in observer.told[-1]

    server.start()
    assert reruns(store) == [("RUNNING", None, None)]
    at_work = store.create_run(
        "other",
        {"sweep.phase": "rerun"} | Lease(store, "").tag,
        reader.sweeps(store)[0].info.run_id,
    )
    train_again(store, record, ScriptedEngine(LOSSES), {})
    ended = [
        ("FAILED", "lost", "its process ended without closing it"),
        ("FINISHED", "complete", ""),
    ]
    assert reruns(store) == [ended[0], ("RUNNING", None, None), ended[1]]
    assert store.run(at_work).info.status == "RUNNING"


class Taken(ScriptedCluster):
    """Its slot cannot be had, and is lost meanwhile."""

    def reserve(self, slot: Slot) -> str:
        return "others have it"


def test_a_rerun_whose_slot_is_lost_while_it_waits_for_that_is_lost(
    workplace: Callable[[str], Path], corpus: Corpus, data: Path
) -> None:
    store = store_in(workplace("lost"))
    record = one_trial(store, corpus, data)
    cluster, observer = Taken(LOSSES, (SLOT,), {2: [(SLOT, GONE)]}), Listening()
    again = train_again(store, record, cluster, {}, observer=observer)
    assert observer.told.count("waiting for a slot: others have it") == 1
    assert again.verdict == "different"
    assert again.first_difference
    assert again.first_difference["metric"] == "epochs"
    assert reruns(store) == [("FAILED", "lost", GONE.reason)]
    assert cluster.started == []


class Full:
    """A client that cannot write."""

    def __init__(self, client: Any) -> None:
        self._client, self.failed = client, threading.Event()

    def __getattr__(self, name: str) -> Any:
        if name == "log_batch":
            return self._fail
        return getattr(self._client, name)

    def _fail(self, *arguments: Any, **more: Any) -> None:
        self.failed.set()
        raise OSError(errno.ENOSPC, "full")


def test_a_rerun_that_a_full_disk_ends_is_closed_if_there_is_space_again(
    workplace: Callable[[str], Path], corpus: Corpus, data: Path
) -> None:
    store = store_in(workplace("full"))
    record = one_trial(store, corpus, data)
    client = store.client
    full = Full(client)

    class Freed(ScriptedEngine):
        def close(self) -> None:
            store.client = client

    def fill(done: RoundDone) -> None:
        store.client = full
        if done.number == 2:  # the first is to be logged
            full.failed.wait(60)

    with pytest.raises(StoreError, match="no space left"):
        train_again(store, record, Freed(LOSSES, watch=fill), {})
    [(status, outcome, reason)] = reruns(store)
    assert (status, outcome) == ("FINISHED", "stopped")
    assert reason and "no space left" in reason
