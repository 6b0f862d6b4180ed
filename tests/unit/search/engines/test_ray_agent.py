"""An agent without Ray and without workers, and what it keeps on its node."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.windows import Scoring
from lstm_sweep.search.engines import ray_agent
from lstm_sweep.search.engines.base import Event
from lstm_sweep.search.engines.ray_agent import (
    Agent,
    Bytes,
    KeptCheckpoint,
    SharedCorpus,
    digest,
    read,
    write,
)
from lstm_sweep.search.engines.worker import CorpusTraining
from lstm_sweep.search.values.trial import Computing, Ended, Job, Outcome, Paused, Slot, Trial

COMPLETE = Ended(Outcome.COMPLETE)
CORPUS = SharedCorpus("abc", ["a reference"])


def of(content: bytes) -> Bytes:
    return np.frombuffer(content, np.uint8)


class Local:
    """Stands in for `local`: trials end when they are stopped."""

    started: list[Job]
    fails: OSError | None

    def __init__(self, slots: tuple[Slot, ...]) -> None:
        self._events: list[tuple[Slot, Event]] = []

    def __enter__(self) -> Local:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing runs."""

    def start(self, job: Job) -> None:
        if self.fails:
            raise self.fails
        self.started.append(job)

    def stop(self, slot: Slot, ended: Ended | Paused) -> None:
        self._events.append((slot, ended))

    def wait(self, timeout_s: float) -> list[tuple[Slot, Event]]:
        events, self._events = self._events, []
        return events


@dataclass
class Place:
    """An agent with a slot."""

    agent: Agent
    slot: Slot
    folder: Path

    def job(self, number: int = 0) -> Job:
        trial = Trial(sweep="s", number=number, config=TrialConfig(), seed=1)
        training = CorpusTraining(Path("/of/the/driver"), Scoring(10, 0))
        return Job(trial=trial, slot=self.slot, training=training, folder=Path("/of/the/driver/0"))

    def train(
        self, number: int, files: dict[str, Bytes] | None = None, corpus: SharedCorpus | None = None
    ) -> Iterator[Event | KeptCheckpoint]:
        return self.agent.train(number, self.job(number), files or {}, corpus, 0.0)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(ray_agent, "_end_with_parent", lambda parent: None)
    monkeypatch.setattr(ray_agent, "LocalEngine", Local)
    monkeypatch.setattr(Local, "started", [], raising=False)
    monkeypatch.setattr(Local, "fails", None, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    agent = Agent("node", 1, on_gpus=False, root=tmp_path / "scratch")
    return Place(agent, next(agent.run()).slots[0], tmp_path)


def test_a_trial_runs_in_a_folder_of_the_agent_with_the_files_of_the_driver(place: Place) -> None:
    place.agent.stop(1, COMPLETE)  # before it has come
    place.agent.stop(1, Paused("the first call counts"))
    assert [*place.train(1, {"checkpoint.npz": of(b"state")})] == [COMPLETE]
    [job] = Local.started
    assert job.checkpoint.read_bytes() == b"state" and place.folder in job.folder.parents
    job.weights.write_bytes(b"weights")
    found = {name: bytes(data) for name, data in place.agent.collect(place.slot).items()}
    assert found == {"checkpoint.npz": b"state", "model.keras": b"weights"}
    place.agent.stop(2, COMPLETE)
    assert [*place.train(2)] == [COMPLETE]
    assert not job.folder.exists() and place.agent.collect(place.slot) == {}


def test_a_trial_begins_once_its_corpus_has_come(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    came, full = threading.Event(), [True, False]

    def get(reference: object) -> dict[str, Bytes]:
        if full.pop(0):
            raise OSError("No space left on device")
        assert came.wait(60)
        return {"corpus.json": of(b"{}")}

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get=get))
    monkeypatch.setattr(ray_agent, "COMPUTING_EVERY_S", 0.01)
    reason = "its corpus did not come: OSError: No space left on device"
    assert [*place.train(1, corpus=CORPUS)][-1] == Ended(Outcome.LOST, reason, unfinished=True)
    stream = place.train(2, corpus=CORPUS)
    assert next(stream) == Computing(), "or it would seem to hang"
    came.set()

    def stop() -> None:
        while not Local.started:
            time.sleep(0.01)
        place.agent.stop(2, COMPLETE)

    threading.Thread(target=stop, daemon=True).start()
    assert [*stream][-1] == COMPLETE
    [job] = Local.started
    wanted = place.folder / "scratch" / "corpora" / "abc"
    assert job.training == replace(place.job().training, corpus=wanted)  # type: ignore[type-var]


def test_an_agent_ends_its_trials_when_it_is_told_and_leaves_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    exits: list[int] = []
    monkeypatch.setattr(os, "_exit", exits.append)
    trial = threading.Thread(target=list, args=(place.train(1),))
    trial.start()
    place.agent.end()
    trial.join(60)
    assert not trial.is_alive()
    place.agent.leave()
    assert [*(place.folder / "scratch" / "agents").iterdir()] == [] and exits == [0]


def kept(root: Path) -> set[str]:
    return {path.name for kind in ("agents", "corpora") for path in (root / kind).iterdir()}


def refuse(folder: Path) -> None:
    raise AssertionError("it was there already")


KILLED = """
import sys
from pathlib import Path
from lstm_sweep.search.engines.ray_agent import Scratch
scratch = Scratch(Path(sys.argv[1]))
scratch.corpus("abc", Path.mkdir)
scratch.take_cores(1, [0])
print(scratch.folder, flush=True)
sys.stdin.read()
"""


def broken_off(folder: Path) -> None:
    """Write a part of a corpus, which is there as if the process had been killed meanwhile."""
    folder.mkdir()
    copy = folder.parent.with_name(f"{folder.parent.name}x")
    shutil.copytree(folder.parent, copy)
    (copy / "part").touch()
    raise KeyboardInterrupt


def test_files_travel_with_their_names_alone_and_appear_once_they_are_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = {"empty": of(b""), "odd": of(b"abcde"), "../out": of(b"abc")}
    write(tmp_path / "there", sent)
    found = {name: bytes(data) for name, data in read(tmp_path / "there").items()}
    assert found == {"empty": b"", "odd": b"abcde", "out": b"abc"}
    assert digest(read(tmp_path / "there")) == digest({k: of(v) for k, v in found.items()})
    others = (found | {"odd": b"abcdf"}, {"other": b"abcde"}, {"odd": b"abcde"})
    assert len({digest({k: of(v) for k, v in files.items()}) for files in others}) == 3

    def fail(file: Path, data: Any) -> None:
        file.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "there", {"odd": of(b"later")})
    assert bytes(read(tmp_path / "there")["odd"]) == b"abcde"
