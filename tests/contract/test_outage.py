"""A store that fails under a sweep: a server that is down, a lock, a lost answer."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions.rerun import train_again
from lstm_sweep.search.driver.lease import Lease
from lstm_sweep.search.engines.base import SlotLost
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.process import signals
from lstm_sweep.search.process.signals import Interrupted, Interrupts, Shield
from lstm_sweep.search.store import reader, writer
from lstm_sweep.search.store.faults import NoAnswerError, StoreError
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import MlflowStore, Store
from lstm_sweep.search.store.writer import Writer
from lstm_sweep.search.values.trial import Ended, Paused, RoundDone, Slot, Trial
from tests.contract.sittings import Listening, check, four_trials
from tests.fakes import ScriptedCluster, ScriptedEngine
from tests.servers import Server
from tests.sweeps import LOSSES, PLAIN, store_in, sweep_of, tiny_spec


@pytest.fixture
def store(workplace: Callable[[str], Path]) -> MlflowStore:
    return store_in(workplace("outage"))


@pytest.mark.full
def test_a_server_that_is_down_for_a_while_is_waited_for(
    workplace: Callable[[str], Path], corpus: Corpus, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "LONGEST_WAIT_S", 1.0)
    server = Server(workplace("behind"))
    server.start()
    store = MlflowStore(Settings(server.address, None, "outage", "test"))
    back: list[threading.Thread] = []

    def go_down(message: RoundDone) -> None:
        if not back:
            server.kill()
            back.append(threading.Thread(target=server.start))
            back[0].start()

    display = Listening()
    engine = ScriptedEngine(LOSSES, watch=go_down)
    try:
        four_trials(store, corpus, data, engine=engine, observer=display, writer=Writer).run()
        assert any("does not answer" in text for text in display.told)
        check(store)
    finally:
        back[0].join()
        server.stop()


def test_a_trial_is_judged_while_a_request_is_under_way(
    store: MlflowStore, corpus: Corpus, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged, answered = threading.Event(), list[bool]()
    judge, log_batch = Policy.judge, MlflowClient.log_batch

    def watched(policy: Policy, progress: Trial) -> Ended | Paused | None:
        verdict = judge(policy, progress)
        if len(progress.rounds) == 2:
            judged.set()
        return verdict

    def late(client: Any, run_id: str, metrics: Any = (), *more: Any) -> Any:
        """It answers the first time that it is told of a round when the next one was judged."""
        if not answered and any(metric.key == "epochs_done" for metric in metrics):
            answered.append(judged.wait(60))
        return log_batch(client, run_id, metrics, *more)

    monkeypatch.setattr(Policy, "judge", watched)
    monkeypatch.setattr(MlflowClient, "log_batch", late)
    four_trials(store, corpus, data, writer=Writer).run()
    assert answered == [True]
    check(store)


@pytest.mark.parametrize("signalled", [False, True], ids=["by a thread", "by a signal"])
def test_a_store_that_is_mute_when_an_end_is_wanted_is_not_waited_for(
    store: MlflowStore,
    corpus: Corpus,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    signalled: bool,
) -> None:
    monkeypatch.setattr(signals, "GIVE_UP_ALL_S", 0.3)
    monkeypatch.setattr(writer, "GIVE_UP_S", 0.3)
    mute, interrupts = threading.Event(), Shield() if signalled else Interrupts()

    class Mute:
        def __getattr__(self, name: str) -> Any:
            def wait(*arguments: Any, **more: Any) -> Any:
                mute.wait(60 if signalled else 0.5)  # a thread's end waits for the timeout of one
                raise TimeoutError("no answer")

            return wait

    def fall_silent(message: RoundDone) -> None:
        store.client = Mute()
        if signalled:
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            interrupts.request()

    display, engine = Listening(), ScriptedEngine(LOSSES, watch=fall_silent)
    sweep = four_trials(
        store, corpus, data, engine=engine, observer=display, interrupts=interrupts, writer=Writer
    )
    up = interrupts.up() if isinstance(interrupts, Shield) else nullcontext()
    with pytest.raises(Interrupted), up:
        sweep.run()
    mute.set()
    sweep._writer._threads[0].join()
    assert any("runs were left open" in text for text in display.told)


def test_a_server_that_never_answers_is_given_up_after_the_time_that_was_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("MLFLOW_HTTP_REQUEST_TIMEOUT", "PGCONNECT_TIMEOUT"):
        monkeypatch.setenv(name, "")  # so that what the store sets is taken back
        monkeypatch.delenv(name)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        uri = f"http://127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(
            InputError, match=r"ReadTimeoutError.*read timeout=1\b.*; expected a store that answers"
        ):
            MlflowStore(Settings(uri, None, "mute", "test", request_timeout_s=1))


class Forgetful:
    """A client whose first answers to a kind of call are lost on the way."""

    def __init__(self, client: Any, lost: int = 1) -> None:
        self._client, self._lost = client, lost

    def __getattr__(self, name: str) -> Any:
        return self._forgetful(getattr(self._client, name))

    def files(self, open_files: Callable[[str], Any]) -> Callable[[str], Any]:
        """What opens the files of runs; an answer to writing one is lost too."""

        def open_forgetful(run_id: str) -> Any:
            files = open_files(run_id)
            files.log_artifact = self._forgetful(files.log_artifact)
            return files

        return open_forgetful

    def _forgetful(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            answer = method(*args, **kwargs)
            if self._lost:
                self._lost -= 1
                raise ConnectionResetError("the answer was lost")
            return answer

        return call


@pytest.mark.parametrize(
    "ask, changed",
    [
        (lambda store, run: store.create_run("new", {Tag.CREATION: "1"}), {"runs": ["new", "r"]}),
        (
            lambda store, run: store.log(run, metrics={"loss": 1.0}, step=3, at_ms=7),
            {"losses": [(3, 1.0)]},
        ),
        (lambda store, run: store.log(run, tags={"a": "b"}), {"tag": "b"}),
        (lambda store, run: store.finish(run, "FINISHED"), {"status": "FINISHED"}),
        (lambda store, run: store.keep_text(run, "text", "a.txt"), {"files": ["a.txt"]}),
    ],
    ids=["create_run", "metrics", "tags", "finish", "keep_text"],
)
def test_an_answer_that_is_lost_neither_loses_nor_doubles_what_was_written(
    store: MlflowStore, ask: Callable[[MlflowStore, str], object], changed: dict[str, object]
) -> None:
    run_id = store.create_run("r", {})
    client, told = store.client, list[str]()
    writes = Writer(store, Interrupts(), told.append)
    store.client = forgetful = Forgetful(client)
    files_of = store._files_of
    vars(store)["_files_of"] = forgetful.files(files_of)
    writes.ask(lambda: ask(store, run_id))
    writes.close()
    store.client, vars(store)["_files_of"] = client, files_of
    assert told == ["the store does not answer, waiting: the answer was lost"]
    found = {
        "runs": sorted(r.info.run_name for r in store.runs()),
        "losses": [(m.step, m.value) for m in client.get_metric_history(run_id, "loss")],
        "tag": (run := client.get_run(run_id)).data.tags.get("a"),
        "status": run.info.status,
        "files": [file.path for file in client.list_artifacts(run_id)],
    }
    unchanged = {"runs": ["r"], "losses": [], "tag": None, "status": "RUNNING", "files": []}
    assert found == unchanged | changed


def test_a_database_that_another_program_has_locked_is_waited_for(
    store: MlflowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than MLflow itself waits, which is 20 seconds, and here less than one."""
    from mlflow.store.db import utils

    file, text = store.settings.database_file, utils.sql.text
    assert file
    monkeypatch.setattr(utils.sql, "text", lambda said: text(said.replace("20000", "200")))
    run_id, other = store.create_run("r", {}), sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(NoAnswerError, match="database is locked"):
        store.log(run_id, tags={"a": "b"})
    other.close()
    store.log(run_id, tags={"a": "b"})
    assert store.tags(run_id)["a"] == "b"


# A rerun whose store fails while it trains: a server that is down, a full disk


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
