"""What may get into a store, and what of it is believed."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import sqlite3
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from rich.console import Console

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.corpus import Corpus, load
from lstm_sweep.models.data.source import Source
from lstm_sweep.search.actions.sweeps import SweepResult
from lstm_sweep.search.cli import main
from lstm_sweep.search.cli.progress import Lines
from lstm_sweep.search.engines import worker
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tracking import MlflowStore, Store
from lstm_sweep.search.values.trial import Ended, Job, Outcome, Slot, Trial
from tests.conftest import write_text
from tests.fakes import ScriptedEngine, job_of
from tests.sweeps import sweep_of, tiny_spec

SECRETS = {
    "MLFLOW_TRACKING_USERNAME": "somebody",
    "MLFLOW_TRACKING_PASSWORD": "PLANTED-password",
    "MLFLOW_TRACKING_TOKEN": "PLANTED-token",
    "MLFLOW_AUTH_ADMIN_PASSWORD": "PLANTED-admin",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "PLANTED-key",
    "AWS_SECRET_ACCESS_KEY": "PLANTED-aws",
    "PGPASSWORD": "PLANTED-database",
    "LSTM_SWEEP_TOKEN": "PLANTED-service",
}


@pytest.fixture
def place(workplace: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a store and data."""
    folder = workplace("trust")
    write_text(folder / "words.txt")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


@pytest.fixture
def with_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)


def files_of(place: Path) -> set[Path]:
    """What lies in a working folder and beside it, without the database, whose logs come and go."""
    found = {*place.parent.iterdir(), *place.rglob("*")}
    return {path for path in found if "mlflow.db" not in path.name}


def open_store(folder: Path) -> Store:
    uri, artifacts = f"sqlite:///{folder / 'mlflow.db'}", (folder / "mlartifacts").as_uri()
    return MlflowStore(Settings(uri, artifacts, "lstm-sweep", "test"))


def run_sweep(store: Store, folder: Path, engine: ScriptedEngine, said: io.StringIO) -> None:
    data = str(folder / "words.txt")
    spec = tiny_spec(data=data, trials=2, confirm_configs=0)
    display = Lines(Console(file=said, width=500))
    sweep_of(store, load(Source(data=data)), engine, spec, observer=display).run()


REASON = f"no login {' '.join(SECRETS.values())} http://me:PLANTED@host/x?token=PLANTED"


class Talkative(ScriptedEngine):
    """Some of its trials fail, and say why in too many words."""

    failing = frozenset({1})

    def start(self, job: Job) -> None:
        super().start(job)
        if job.trial.number in self.failing:
            job.log.write_text(f"before\n{REASON}\n", encoding="utf-8")
            self._messages = [Ended(Outcome.ERROR, REASON)]


@pytest.mark.usefixtures("with_secrets")
def test_no_secret_is_shown_or_in_the_store_after_a_sweep(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store, said = open_store(place), io.StringIO()
    run_sweep(store, place, Talkative({0: [3.0, 2.5], 1: [2.0]}), said)
    assert "s/1 error" in said.getvalue() and "no login somebody ***" in said.getvalue()
    assert "PLANTED" not in said.getvalue()
    connection = sqlite3.connect(place / "mlflow.db")
    dump = "\n".join(connection.iterdump())
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    assert "no login somebody ***" in dump  # the reason is there
    assert "PLANTED" not in dump
    files = [path for path in place.rglob("*") if path.is_file()]
    assert {"sweep.yaml", "evidence.json", "mlflow.db"} <= {path.name for path in files}
    assert [path for path in files if b"PLANTED" in path.read_bytes()] == []
    [log] = [path for path in files if path.name == "log.txt"]
    assert log.read_text(encoding="utf-8").startswith("before\nno login somebody ***")
    for typed in (["sweeps"], ["trials", "s"], ["show", "s/1"], ["show", "s/1", "--json"]):
        assert main(typed) == 0
    out, err = capfd.readouterr()
    assert "no login somebody ***" in out
    assert "PLANTED" not in out + err


@pytest.mark.usefixtures("with_secrets")
def test_no_secret_is_in_why_a_sweep_has_failed(corpus: Corpus) -> None:
    spec = tiny_spec(trials=4, confirm_configs=0, max_failures=2)
    engine = Talkative({0: [2.0], 1: [2.0]})
    engine.failing = frozenset({0, 1})
    store = MemoryStore()
    state = sweep_of(store, corpus, engine, spec).run()
    assert (state.status, state.counts) == ("failed", {"error": 2})
    assert store.run(state.run_id).info.status == "FAILED"
    assert "2 trials in a row have failed: 2 error (no login somebody ***" in state.ending
    assert "PLANTED" not in state.ending + json.dumps(SweepResult.of(state).to_dict())


@pytest.mark.usefixtures("with_secrets")
def test_no_secret_of_an_error_leaves_a_worker(
    place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:PLANTED-address@host/runs")

    def fail(job: Job) -> Iterator[Ended]:
        assert "PLANTED" not in str(os.environ)
        raise ValueError(f"{REASON} PLANTED-address")
        yield

    monkeypatch.setattr(worker, "_train", fail)
    monkeypatch.setattr(worker, "_take_slot", lambda slot: None)  # which imports Keras
    monkeypatch.setattr(sys, "stderr", sys.__stderr__)  # that of a process, not of pytest
    forked = multiprocessing.get_context("fork")
    ours, theirs = forked.Pipe()
    trial = Trial(sweep="s", number=0, config=TrialConfig(), seed=1)
    job = job_of(trial, Slot(0), tmp_path)
    process = forked.Process(target=worker.main, args=(job, theirs))
    process.start()
    theirs.close()
    ended = ours.recv()
    process.join()
    assert ended.reason.startswith("ValueError: no login somebody ***")
    assert "PLANTED" not in ended.reason
    log = job.log.read_text(encoding="utf-8")
    assert "ValueError: no login somebody ***" in log and "PLANTED" not in log


class Poisoned(ScriptedEngine):
    """Its trials leave networks that want to run code."""

    content = b""

    def start(self, job: Job) -> None:
        super().start(job)
        job.weights.write_bytes(self.content)


@pytest.fixture(scope="module")
def poison(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[bytes, Path]]:
    """A network with a layer of code, and the file that the code makes."""
    import keras

    folder = tmp_path_factory.mktemp("poison")
    marker = folder / "was here"

    def act(x, path=str(marker)):  # type: ignore[no-untyped-def]
        open(path, "w").close()  # noqa: PTH123
        return x

    keras.Sequential([keras.Input((8,)), keras.layers.Lambda(act)]).save(folder / "model.keras")
    assert marker.exists()
    marker.unlink()
    yield (folder / "model.keras").read_bytes(), marker


def with_config(content: bytes, config: Mapping[str, object]) -> bytes:
    """A saved network with another description."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(written, "w") as new:
        for name in old.namelist():
            text = json.dumps(config).encode() if name == "config.json" else old.read(name)
            new.writestr(name, text)
    return written.getvalue()


@pytest.mark.parametrize("kind", ["layer of code", "no zip", "function", "unsafe switch"])
def test_a_network_that_would_run_code_is_not_loaded(
    kind: str, place: Path, poison: tuple[bytes, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    content, marker = poison
    engine = Poisoned({0: [3.0, 2.5], 1: [2.0, 1.0]})
    call = {"module": "os", "class_name": "function", "config": "mkdir", "registered_name": "mkdir"}
    unsafe = {
        "module": "keras.config", "class_name": "function",
        "config": "enable_unsafe_deserialization", "registered_name": "function",
    }  # fmt: skip
    engine.content = {
        "layer of code": content,
        "no zip": b"\x80\x04 a pickle?",
        "function": with_config(content, call | {"args": [str(marker)]}),
        "unsafe switch": with_config(content, unsafe),
    }[kind]
    run_sweep(open_store(place), place, engine, io.StringIO())
    capfd.readouterr()
    assert main(["export", "s", "--to", "best"]) == 2
    out, err = capfd.readouterr()
    [line] = err.splitlines()
    assert out == "" and line.startswith("lstm-sweep: trial s/1: its network is not loaded: ")
    assert "expected one that lstm-sweep has trained" in line
    assert not marker.exists() and not (place / "best").exists()
    assert not list(place.glob(".best*"))


@pytest.mark.parametrize(
    "name", ["../s", "/tmp/s", "..", "s/../../x", "a\\b", "s\n", "' OR '1'='1"]
)
def test_no_name_of_a_sweep_leads_out(
    name: str, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = open_store(place)
    store.create_run("r", {"sweep.role": "sweep", "sweep.name": name})
    before = files_of(place)
    launch = ["launch", "--data", "words.txt", "--on", "inline", "--size-rule", "warn"]
    for typed in (
        [*launch, f"--name={name}"],
        ["trials", name],
        ["resume", name],
        ["stop", name],
        ["export", name, "--to", "best"],
        ["show", f"{name}/1"],
        ["rerun", f"{name}/1"],
    ):
        code = main(typed)
        out, err = capfd.readouterr()
        assert (code, out) == (2, ""), typed
        assert len(err.splitlines()) == 1, typed
    assert reader.find_sweep(store, name) is None
    assert files_of(place) == before
