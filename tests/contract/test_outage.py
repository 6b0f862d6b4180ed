"""A store that fails under a sweep: a server that is down, a full disk, a lock, a lost answer."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.engines.base import Event
from lstm_sweep.search.process import workdir
from lstm_sweep.search.process.signals import Interrupted, Shield
from lstm_sweep.search.store import archive
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.sweep.lease import BEAT_S, Lease
from lstm_sweep.search.sweep.observer import Silent
from lstm_sweep.search.sweep.resume import rebuild
from lstm_sweep.search.sweep.sweep import Sweep
from lstm_sweep.search.trial import EpochDone, Slot
from tests.fakes import ScriptedEngine
from tests.servers import Server
from tests.sweeps import LOSSES, PLAIN, store_in, sweep_of, tiny_spec


@pytest.fixture
def store(workplace: Callable[[str], Path]) -> Store:
    return store_in(workplace("outage"))


class Listening(Silent):
    """A display that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def said(self, text: str) -> None:
        """Remember it."""
        self.told.append(text)


def four_trials(store: Store, corpus: Corpus, data: Path, **more: Any) -> Sweep:
    spec = tiny_spec(data=str(data), trials=4, **PLAIN)
    engine = more.pop("engine", None) or ScriptedEngine(LOSSES)
    return sweep_of(store, corpus, engine, spec, **more)


def check(store: Store) -> None:
    """Everything has arrived, in order and once."""
    runs = store.runs(sweep_name="s")
    names = [run.info.run_name for run in runs]
    assert sorted(names) == sorted(set(names))
    assert len(runs) == 1 + 3 + 4
    assert {run.info.status for run in runs} == {"FINISHED"}
    for record in archive.trials(store, "s"):
        first, second = LOSSES[record.trial.number]
        assert store.history(record.run_id, "val_loss") == {1: first, 2: second}
        [*_] = history = store.client.get_metric_history(record.run_id, "val_loss")
        assert [point.timestamp for point in history] == sorted(p.timestamp for p in history)


def test_a_server_that_is_down_for_a_while_is_waited_for(
    workplace: Callable[[str], Path], corpus: Corpus, data: Path
) -> None:
    server = Server(workplace("behind"))
    store = Store(Settings(server.start(), None, "outage", "test"))
    back: list[threading.Thread] = []

    def go_down(message: EpochDone) -> None:
        if not back:
            server.kill()
            back.append(threading.Thread(target=server.start))
            back[0].start()

    display = Listening()
    engine = ScriptedEngine(LOSSES, watch=go_down)
    try:
        four_trials(store, corpus, data, engine=engine, observer=display).run()
        back[0].join()
        assert any("does not answer" in text for text in display.told)
        check(store)
    finally:
        back[0].join()
        server.stop()


def test_somebody_who_gives_up_waiting_is_heard(
    store: Store, corpus: Corpus, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal

    def down(*arguments: Any, **more: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        raise ConnectionRefusedError("nobody there")

    class Down:
        def __init__(self, client: Any) -> None:
            self._client = client

        def __getattr__(self, name: str) -> Any:
            return down

    def go_down(message: EpochDone) -> None:
        store.client = Down(store.client)

    display, shield = Listening(), Shield()
    engine = ScriptedEngine(LOSSES, watch=go_down)
    sweep = four_trials(store, corpus, data, engine=engine, observer=display, interrupts=shield)
    with pytest.raises(Interrupted) as caught, shield.up():
        sweep.run()
    assert caught.value.code == 143
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
            Store(Settings(uri, None, "mute", "test", request_timeout_s=1))


class AtOnce(ScriptedEngine):
    """Says at once all that a trial reports, as workers seem to where the store is slow."""

    def wait(self, timeout_s: float) -> Sequence[tuple[Slot, Event]]:
        """All messages."""
        heard: list[tuple[Slot, Event]] = []
        while said := super().wait(timeout_s):
            heard += said
        return heard


def test_a_sweep_shows_that_it_is_driven_while_the_store_is_slow(
    store: Store, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats: list[float] = []

    def beat(lease: Lease, seconds: float) -> bool:
        beats.append(seconds)
        return False

    monkeypatch.setattr(Lease, "beat", beat)
    seconds = iter(float(second) for second in range(10_000))
    spec = tiny_spec(trials=1, epochs=50, **PLAIN)
    engine = AtOnce({0: [3.0] * 50})
    sweep_of(store, corpus, engine, spec, clock=lambda: next(seconds)).run()
    assert len(beats) > 5
    assert all(later - before <= 2 * BEAT_S for before, later in itertools.pairwise(beats))


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
    "ask",
    [
        lambda store, run: store.create_run("new", {"kind": "new"}),
        lambda store, run: store.log(run, metrics={"loss": 1.0}, tags={"a": "b"}, step=3),
        lambda store, run: store.finish(run, "FINISHED"),
        lambda store, run: store.keep_text(run, "text", "a.txt"),
    ],
    ids=["create_run", "log", "finish", "keep_text"],
)
def test_a_lost_answer_doubles_nothing(store: Store, ask: Callable[[Store, str], object]) -> None:
    run_id = store.create_run("r", {})
    client = store.client
    waits: list[str] = []
    store.waiting = lambda why, seconds: waits.append(why)
    store.client = forgetful = Forgetful(client)
    files_of = store._files_of
    vars(store)["_files_of"] = forgetful.files(files_of)
    ask(store, run_id)
    store.client = client
    vars(store)["_files_of"] = files_of
    assert waits == ["the answer was lost"]
    assert len(store.runs()) <= 2
    assert [r.info.run_name for r in store.runs(kind="new")] in ([], ["new"])
    assert len(client.get_metric_history(run_id, "loss")) <= 1


def test_a_database_that_another_program_has_locked_is_waited_for(
    store: Store, corpus: Corpus, data: Path, monkeypatch: pytest.MonkeyPatch
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

    def lock(message: EpochDone) -> None:
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
    four_trials(store, corpus, data, engine=engine, observer=Releasing()).run()
    holding[0].join()
    assert told.is_set()
    check(store)


def test_files_that_cannot_be_kept_are_one_clear_error(
    workplace: Callable[[str], Path], corpus: Corpus, data: Path
) -> None:
    folder = workplace("unwritable")
    store = store_in(folder)
    store.prepare()
    (folder / "artifacts").write_text("a file where a folder is expected")
    with pytest.raises(InputError, match="artifacts is a file, expected a folder"):
        store.prepare()
    with pytest.raises(StoreError, match="a file where a folder is expected"):
        four_trials(store, corpus, data).run()
    [parent] = archive.sweeps(store)
    assert (parent.info.status, parent.data.tags["sweep.state"]) == ("FAILED", "failed")


class Once:
    """A client that fails at one call, counted over those that log the end of a trial."""

    def __init__(self, client: Any, error: BaseException) -> None:
        self._client, self._error = client, error
        self.failed = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(run_id: str, *args: Any, **kwargs: Any) -> Any:
            tags = args[2] if name == "log_batch" else ()
            if not self.failed and any(tag.key == "sweep.outcome" for tag in tags):
                self.failed += 1
                raise self._error
            return method(run_id, *args, **kwargs)

        return call if name == "log_batch" else method


@pytest.mark.parametrize(
    "error, expected", [(OSError(errno.ENOSPC, "full"), StoreError), (Interrupted(2), Interrupted)]
)
def test_a_trial_whose_end_could_not_be_kept_is_closed_or_goes_on(
    store: Store,
    corpus: Corpus,
    data: Path,
    error: BaseException,
    expected: type[BaseException],
) -> None:
    store.client = client = Once(store.client, error)
    with pytest.raises(expected):
        four_trials(store, corpus, data).run()
    assert client.failed == 1
    first = archive.trials(store, "s")[0]
    assert (first.status, first.outcome) == ("FINISHED", "complete")
    assert first.has_weights
    assert {run.info.status for run in store.runs()} <= {"FINISHED", "FAILED", "KILLED"}


def test_a_trial_that_cannot_be_closed_keeps_what_it_goes_on_with(
    store: Store, corpus: Corpus, data: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any, **more: Any) -> None:
        raise StoreError("no space left")

    with monkeypatch.context() as patch, pytest.raises(StoreError):
        patch.setattr("lstm_sweep.search.store.journal.Journal.close_trial", full)
        four_trials(store, corpus, data).run()
    [parent] = archive.sweeps(store)
    assert [path.name for path in (cache / parent.info.run_id).iterdir()] == ["0"]
    past = rebuild(store, parent)
    assert [trial.number for trial in past.again] == [0]
    assert {run.info.status for run in store.runs(sweep_phase="search")} == {"KILLED"}
    workdir.clear(cache / parent.info.run_id, set())


def test_pictures_that_find_no_space_do_not_keep_a_sweep_from_its_end(
    store: Store, corpus: Corpus, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(file: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(file))

    monkeypatch.setattr(
        "lstm_sweep.search.sweep.evidence.plots", lambda *arguments: iter([("curves", draw)])
    )
    display = Listening()
    four_trials(store, corpus, data, observer=display).run()
    assert any("no pictures were kept" in text for text in display.told)
    check(store)


def test_a_trial_without_room_for_its_folder_ends_the_sweep_with_one_line(
    store: Store, corpus: Corpus, data: Path, cache: Path
) -> None:
    def take_its_place(message: EpochDone) -> None:
        (cache / archive.sweeps(store)[0].info.run_id / "1").write_text("no folder")

    engine = ScriptedEngine(LOSSES, watch=take_its_place)
    with pytest.raises(StoreError, match=r"folder .*/1: File exists, expected room to work"):
        four_trials(store, corpus, data, engine=engine).run()
    assert {run.info.status for run in store.runs()} == {"FINISHED", "FAILED"}


#: run where a small file system of its own is mounted
FULL = """
import shutil, sys
from pathlib import Path
from lstm_sweep.models.data.corpus import load
from lstm_sweep.models.data.source import Source
from lstm_sweep.search.store import archive
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.sweep.resume import rebuild
from tests.contract.test_outage import check, four_trials
from tests.fakes import ScriptedEngine
from tests.sweeps import LOSSES, store_in, sweep_of
place, data = Path(sys.argv[1]), Path(sys.argv[2])
shutil.copy(place.parent / "mlflow.db", place / "mlflow.db")
corpus, store, filler = load(Source(data=str(data))), store_in(place), place / "filler"

def fill(message):
    if message.epoch == 2 and not filler.exists():
        with filler.open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    pass

try:
    four_trials(store, corpus, data, engine=ScriptedEngine(LOSSES, watch=fill)).run()
except StoreError as error:
    print(error)
else:
    raise SystemExit("the disk was never full")
filler.unlink()
past = rebuild(store, archive.existing_sweep(store, "s"))
sweep_of(store, corpus, ScriptedEngine(LOSSES), past.spec, past=past).run()
records = archive.trials(store, "s")
assert [record.outcome for record in records] == ["complete"] * 4, records
assert {run.info.status for run in store.runs()} == {"FINISHED", "KILLED"}, store.runs()
print("went on")
"""


def test_a_sweep_whose_disk_is_full_goes_on_once_there_is_space(
    empty_database: Path, data: Path, tmp_path: Path
) -> None:
    place = tmp_path / "small"
    place.mkdir()
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    script = f'mount -t tmpfs -o size=8m none "{place}" && exec "$0" -c "$1" "{place}" "{data}"'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, sys.executable, FULL],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    first, *_, last = done.stdout.splitlines() or ["", done.stderr[-3000:]]
    assert "no space left" in first, done.stderr[-3000:]
    assert last == "went on", done.stderr[-3000:]
