from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.windows import Scoring
from lstm_sweep.search.engines import ray_agent, ray_cluster
from lstm_sweep.search.engines.base import Event
from lstm_sweep.search.engines.ray_agent import (
    Agent,
    Bytes,
    Hello,
    Offering,
    Report,
    Scratch,
    digest,
    put,
    write,
)
from lstm_sweep.search.engines.ray_cluster import AGAIN_S, ALL, Offer, left_out
from lstm_sweep.search.engines.trainings import CorpusTraining
from lstm_sweep.search.values.trial import Computing, Ended, Job, Outcome, Paused, Slot, Trial

COMPLETE = Ended(Outcome.COMPLETE)


class Local:
    """Stands in for `local`: trials end when they are stopped."""

    def __init__(self, slots: tuple[Slot, ...]) -> None:
        self.started: list[Job] = []
        self.fails: OSError | None = None
        self._events: list[tuple[Slot, Event]] = []

    def start(self, job: Job) -> None:
        if self.fails:
            raise self.fails
        self.started.append(job)

    def stop(self, slot: Slot, ended: Ended | Paused) -> None:
        self._events.append((slot, ended))

    def wait(self, timeout_s: float) -> list[tuple[Slot, Event]]:
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        self.closed = True


@dataclass
class Place:
    """An agent with a slot, and what it has said."""

    agent: Agent
    local: Local
    stream: Iterator[Hello | Report | Offering]
    slot: Slot
    folder: Path

    def job(self, number: int = 0) -> Job:
        trial = Trial(sweep="s", number=number, config=TrialConfig(), seed=1)
        training = CorpusTraining(Path("/of/the/driver"), Scoring(10, 0))
        return Job(trial=trial, slot=self.slot, training=training, folder=Path("/of/the/driver/0"))

    def next(self) -> Report:
        said = next(self.stream)
        assert isinstance(said, Report)
        return said

    def offers(self, number: int, offer: Offer) -> None:
        """Expect that it says so next."""
        assert next(self.stream) == Offering(number, offer)


@pytest.fixture(autouse=True)
def without_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process of the tests does not end with the one that has started it."""
    monkeypatch.setattr(ray_agent, "_end_with_parent", lambda parent: None)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(ray_agent, "LocalEngine", Local)
    monkeypatch.setattr(ray_agent, "IDLE_S", 0.01)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    agent = Agent("node", 1, on_gpus=False, root=tmp_path / "scratch")
    stream = agent.run()
    hello = next(stream)
    assert isinstance(hello, Hello)
    local: Any = agent._engine
    yield Place(agent, local, stream, hello.slots[0], tmp_path)
    agent._closing = True
    assert list(stream) == []


def test_an_agent_says_what_it_has_and_sees_no_gpu_that_it_was_not_given(place: Place) -> None:
    assert place.slot.node == "node" and place.slot.core in os.sched_getaffinity(0)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "-1"
    assert "OMP_NUM_THREADS" not in os.environ


def test_a_trial_runs_in_a_folder_of_the_agent_with_the_files_of_the_driver(place: Place) -> None:
    checkpoint = np.frombuffer(b"state", np.uint8)
    place.agent.start(1, place.job(), {"checkpoint.npz": checkpoint}, None)
    place.agent.stop(2, place.slot, COMPLETE)
    assert place.next() == Report(1, place.slot, COMPLETE)
    [job] = place.local.started
    assert job.checkpoint.read_bytes() == b"state" and place.folder in job.folder.parents
    job.weights.write_bytes(b"weights")
    found = {name: bytes(data) for name, data in place.agent.collect(place.slot).items()}
    assert found == {"checkpoint.npz": b"state", "model.keras": b"weights"}
    place.agent.start(3, place.job(1), {}, None)
    place.agent.stop(4, place.slot, COMPLETE)
    assert place.next().number == 2
    assert not job.folder.exists() and place.agent.collect(place.slot) == {}


def test_the_checkpoint_of_a_trial_is_given_once_for_each_version(place: Place) -> None:
    begun, other = place.job(), place.job(1)
    assert place.agent.checkpoint(place.slot, begun.trial, 0) is None
    place.agent.start(1, begun, {"checkpoint.npz": np.frombuffer(b"state", np.uint8)}, None)
    place.agent.stop(2, place.slot, COMPLETE)
    place.next()
    found = place.agent.checkpoint(place.slot, begun.trial, 0)
    assert found and bytes(found.data) == b"state"
    assert place.agent.checkpoint(place.slot, begun.trial, found.version) is None
    assert place.agent.checkpoint(place.slot, other.trial, 0) is None
    [job] = place.local.started
    job.checkpoint.unlink()
    assert place.agent.checkpoint(place.slot, begun.trial, 0) is None


def test_calls_are_carried_out_in_the_order_of_their_numbers(place: Place) -> None:
    place.agent.stop(4, place.slot, COMPLETE)
    place.agent.start(3, place.job(1), {}, None)
    place.agent.stop(2, place.slot, Paused("waits"))
    place.agent.start(1, place.job(0), {}, None)
    assert [place.next().event for _ in range(2)] == [Paused("waits"), COMPLETE]
    assert [job.trial.number for job in place.local.started] == [0, 1]


def test_a_trial_begins_once_its_corpus_has_come(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_agent, "COMPUTING_EVERY_S", 0.0)
    place.agent.start(1, place.job(), {}, "abc")
    assert place.next().event == Computing(), "or it would seem to hang"
    assert place.local.started == []
    place.agent._corpora["abc"] = place.folder / "corpus"
    place.agent._begin_waiting()
    place.agent.stop(2, place.slot, COMPLETE)
    assert place.next().event == COMPLETE
    [job] = place.local.started
    assert job.training == replace(place.job().training, corpus=place.folder / "corpus")  # type: ignore[type-var]


def test_no_trial_begins_on_a_node_until_the_corpus_has_come_that_found_no_room(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, tried = threading.Event(), threading.Event()
    full.set()

    def write(chunks: Any, folder: Path) -> None:
        if full.is_set():
            tried.set()
            raise OSError("No space left on device")
        folder.mkdir()

    monkeypatch.setattr(ray_agent, "_fetch", write)
    monkeypatch.setattr(ray_agent, "delay_s", lambda times: 0.01)
    fetching = threading.Thread(target=place.agent.fetch, args=("abc", {}))
    fetching.start()
    assert tried.wait(60)
    place.agent.start(1, place.job(), {}, "abc")
    reason = "its corpus did not come: OSError: No space left on device"
    place.offers(1, left_out(reason))
    assert place.next() == Report(2, place.slot, Ended(Outcome.LOST, reason, unfinished=True))
    full.clear()
    place.offers(3, ALL)
    fetching.join()
    place.agent.start(2, place.job(), {}, "abc")
    place.agent._take_calls()
    place.agent._begin_waiting()
    assert len(place.local.started) == 1


def test_a_node_on_which_no_worker_can_be_started_is_left_out_for_a_while(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(ray_cluster, "time", SimpleNamespace(monotonic=lambda: now[0]))
    place.local.fails = OSError("Cannot allocate memory")
    place.agent.start(1, place.job(), {}, None)
    reason = "no worker could be started: OSError: Cannot allocate memory"
    place.offers(1, left_out(reason))
    assert place.next().event == Ended(Outcome.LOST, reason, unfinished=True)
    now[0] += AGAIN_S
    place.offers(3, left_out(reason, 1, told=True))
    now[0] += AGAIN_S
    place.offers(4, ALL)


def test_an_agent_ends_its_trials_when_it_is_told_and_leaves_nothing(place: Place) -> None:
    place.agent.start(1, place.job(), {}, None)
    place.agent.stop(2, place.slot, Paused("waits"))
    place.next()
    ending = threading.Thread(target=place.agent.end)
    ending.start()
    assert list(place.stream) == []
    ending.join()
    assert place.local.closed
    place.agent.clear()
    assert [*(place.folder / "scratch" / "agents").iterdir()] == []


def kept(root: Path) -> set[str]:
    return {path.name for kind in ("agents", "corpora") for path in (root / kind).iterdir()}


def write_corpus(folder: Path) -> None:
    folder.mkdir()
    (folder / "corpus.json").write_text("{}")


def refuse(folder: Path) -> None:
    raise AssertionError("it was there already")


def test_a_corpus_is_written_once_and_deleted_with_its_last_agent(tmp_path: Path) -> None:
    first, second = Scratch(tmp_path), Scratch(tmp_path)
    folder = first.corpus("abc", write_corpus)
    assert (folder / "corpus.json").exists()
    assert first.corpus("abc", refuse) == second.corpus("abc", refuse) == folder
    first.close()
    assert folder.exists() and not first.folder.exists()
    second.close()
    assert kept(tmp_path) == set()


def test_a_corpus_that_could_not_be_written_is_tried_again(tmp_path: Path) -> None:
    def full(folder: Path) -> None:
        folder.mkdir()
        raise OSError("No space left")

    scratch = Scratch(tmp_path)
    with pytest.raises(OSError, match="No space left"):
        scratch.corpus("abc", full)
    assert (scratch.corpus("abc", write_corpus) / "corpus.json").exists()
    assert [path.name for path in (tmp_path / "corpora" / "abc").iterdir()] == ["complete"]


KILLED = """
import os, sys
from pathlib import Path
from lstm_sweep.search.engines.ray_agent import Scratch
scratch = Scratch(Path(sys.argv[1]))
scratch.corpus("abc", Path.mkdir)
scratch.take_cores(1, [0])
print(scratch.folder, flush=True)
sys.stdin.read()
"""


def test_the_next_agent_deletes_what_a_killed_one_has_left(tmp_path: Path) -> None:
    killed = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert killed.stdout
    folder = Path(killed.stdout.readline().strip())
    beside = Scratch(tmp_path)
    assert beside.take_cores(1, [0, 1]) == [1]
    assert folder.exists() and kept(tmp_path) == {folder.name, beside.folder.name, "abc"}
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    after = Scratch(tmp_path)
    assert kept(tmp_path) == {beside.folder.name, after.folder.name}
    assert after.take_cores(2, [0, 1]) == [0, 1], "core 1 is taken, and shared"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of several sizes, in chunks of 4 bytes."""
    monkeypatch.setattr(ray_agent, "CHUNK", 4)
    made = tmp_path / "made"
    made.mkdir()
    for name, text in {"empty": b"", "short": b"abc", "even": b"abcdefgh", "odd": b"abcde"}.items():
        (made / name).write_bytes(text)
    (made / "below").mkdir()
    return made


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def test_large_files_travel_in_chunks(folder: Path, tmp_path: Path) -> None:
    stored: list[Bytes] = []

    def store(chunk: Bytes) -> int:
        stored.append(chunk)
        return len(stored) - 1

    references = put(folder, store)
    assert {name: len(parts) for name, parts in references.items()} == {
        "empty": 0, "short": 1, "even": 2, "odd": 2,
    }  # fmt: skip
    write(tmp_path / "there", {n: map(stored.__getitem__, refs) for n, refs in references.items()})
    assert contents(tmp_path / "there") == contents(folder)


def test_a_digest_is_of_names_and_contents(folder: Path) -> None:
    before = digest(folder)
    assert len(before) == 32 and before == digest(folder)
    (folder / "odd").write_bytes(b"abcdf")
    changed = digest(folder)
    (folder / "odd").rename(folder / "other")
    assert len({before, changed, digest(folder)}) == 3


def test_a_name_leads_to_no_other_folder(tmp_path: Path) -> None:
    write(tmp_path / "there", {"../out": [np.frombuffer(b"abc", np.uint8)]})
    assert contents(tmp_path / "there") == {"out": b"abc"} and not (tmp_path / "out").exists()


def test_a_file_that_does_not_come_to_its_end_does_not_appear(tmp_path: Path) -> None:
    def parts() -> Iterator[Bytes]:
        yield np.frombuffer(b"abc", np.uint8)
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "file").write_bytes(b"earlier")
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path, {"file": parts()})
    assert contents(tmp_path) == {"file": b"earlier"}
