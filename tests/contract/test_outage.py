"""A store that fails under a sweep: one that is mute, a lock, a lost answer, a full disk."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sqlite3
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.errors import InputError
from lstm_sweep.models.rounds import RoundDone
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
from lstm_sweep.search.values.trial import Ended, Paused, Slot, Trial
from tests.contract.sittings import Listening, check, four_trials
from tests.fakes import ScriptedCluster, ScriptedEngine
from tests.sweeps import LOSSES, PLAIN, store_in, sweep_of, tiny_spec


@pytest.fixture
def store(workplace: Callable[[str], Path]) -> MlflowStore:
    return store_in(workplace("outage"))


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


class Mute:
    """A client that is `asked`, and does not answer."""

    def __init__(self, asked: Callable[[], object]) -> None:
        self._asked = asked

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **more: Any) -> Any:
            self._asked()
            raise TimeoutError("no answer")

        return call


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

    def fall_silent(message: RoundDone) -> None:
        # a thread's end waits for the timeout of one
        store.client = Mute(lambda: mute.wait(60 if signalled else 0.5))
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


# A rerun whose store fails while it trains


SLOT, GONE = Slot(0, core=0, node="node-0"), SlotLost("its node has left the cluster")


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


def test_ctrl_c_ends_a_rerun_whose_store_is_mute_and_the_next_one_closes_its_run(
    store: MlflowStore, corpus: Corpus, data: Path
) -> None:
    record, client, observer, shield = (
        one_trial(store, corpus, data),
        store.client,
        Listening(),
        Shield(),
    )
    asked = threading.Event()

    def interrupt() -> None:
        if not asked.is_set():
            asked.set()
            os.kill(os.getpid(), signal.SIGINT)

    def fall_silent(done: RoundDone) -> None:
        store.client = Mute(interrupt)

    engine = ScriptedEngine(LOSSES, watch=fall_silent)
    with pytest.raises(Interrupted) as caught, shield.up():
        train_again(store, record, engine, {}, observer=observer, interrupts=shield)
    assert caught.value.code == 130
    assert "was left open" in observer.told[-1]

    store.client = client
    assert reruns(store) == [("RUNNING", None, None)]
    parent, tags = reader.sweeps(store)[0].info.run_id, {"sweep.phase": "rerun"}
    at_work = store.create_run("other", tags | Lease(store, "").tag, parent)
    train_again(store, record, ScriptedEngine(LOSSES), {})
    lost = ("FAILED", "lost", "its process ended without closing it")
    assert reruns(store) == [lost, ("RUNNING", None, None), ("FINISHED", "complete", "")]
    assert store.run(at_work).info.status == "RUNNING"


class Taken(ScriptedCluster):
    """Its slot cannot be had, and is lost meanwhile."""

    def reserve(self, slot: Slot) -> str:
        return "others have it"


def test_a_rerun_whose_slot_is_lost_while_it_waits_for_that_is_lost(
    store: MlflowStore, corpus: Corpus, data: Path
) -> None:
    record = one_trial(store, corpus, data)
    cluster, observer = Taken(LOSSES, (SLOT,), {2: [(SLOT, GONE)]}), Listening()
    again = train_again(store, record, cluster, {}, observer=observer)
    assert observer.told.count("waiting for a slot: others have it") == 1
    assert again.verdict == "different"
    assert again.first_difference
    assert again.first_difference["metric"] == "epochs"
    assert reruns(store) == [("FAILED", "lost", GONE.reason)]
    assert cluster.started == []


def test_a_rerun_that_a_full_disk_ends_is_closed_if_there_is_space_again(
    store: MlflowStore, corpus: Corpus, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, failed = one_trial(store, corpus, data), threading.Event()
    log_batch = MlflowClient.log_batch

    class Freed(ScriptedEngine):
        def close(self) -> None:
            monkeypatch.setattr(MlflowClient, "log_batch", log_batch)

    def fail(*arguments: Any, **more: Any) -> None:
        failed.set()
        raise OSError(errno.ENOSPC, "full")

    def fill(done: RoundDone) -> None:
        monkeypatch.setattr(MlflowClient, "log_batch", fail)
        if done.number == 2:  # the first is to be logged
            failed.wait(60)

    with pytest.raises(StoreError, match="no space left"):
        train_again(store, record, Freed(LOSSES, watch=fill), {})
    [(status, outcome, reason)] = reruns(store)
    assert (status, outcome) == ("FINISHED", "stopped")
    assert reason and "no space left" in reason
