"""A store that fails under a sweep: a server that is down, a lock, a lost answer."""

from __future__ import annotations

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
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.process import signals
from lstm_sweep.search.process.signals import Interrupted, Interrupts, Shield
from lstm_sweep.search.store import writer
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import MlflowStore
from lstm_sweep.search.store.writer import Writer
from lstm_sweep.search.values.trial import Ended, Paused, RoundDone, Trial
from tests.contract.four_trials import Listening, check, four_trials
from tests.fakes import ScriptedEngine
from tests.servers import Server
from tests.sweeps import LOSSES, store_in


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
    store: MlflowStore, corpus: Corpus, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than MLflow itself waits, which is 20 seconds, and here less than one."""
    from mlflow.store.db import utils

    file, text = store.settings.database_file, utils.sql.text
    assert file
    monkeypatch.setattr(utils.sql, "text", lambda said: text(said.replace("20000", "200")))
    holding: list[threading.Thread] = []
    locked, told = threading.Event(), threading.Event()

    def hold() -> None:
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        locked.set()
        told.wait(60)
        other.execute("ROLLBACK")
        other.close()

    def lock(message: RoundDone) -> None:
        if not holding:
            holding.append(threading.Thread(target=hold))
            holding[0].start()
            locked.wait()

    class Releasing(Listening):
        def said(self, text: str) -> None:
            super().said(text)
            if "does not answer" in text:
                told.set()

    engine = ScriptedEngine(LOSSES, watch=lock)
    four_trials(store, corpus, data, engine=engine, observer=Releasing(), writer=Writer).run()
    holding[0].join()
    assert told.is_set()
    check(store)
