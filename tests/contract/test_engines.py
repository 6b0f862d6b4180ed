"""One suite for every place where trials run."""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.corpus import load
from lstm_sweep.models.data.source import Source
from lstm_sweep.search.engines import open_engine
from lstm_sweep.search.engines.base import Engine, Event, SlotAdded, SlotLost, devices
from lstm_sweep.search.engines.local import LocalEngine
from lstm_sweep.search.engines.memory import KernelLog, memory_kills
from lstm_sweep.search.engines.trainings import CorpusTraining
from lstm_sweep.search.trial import Ended, EpochDone, Job, Message, Outcome, Slot, Trial, TrialFiles
from tests.conftest import write_text
from tests.fakes import MemoryStore
from tests.sweeps import PLAIN, sweep_of, tiny_spec

CONFIG = TrialConfig(layers=2, layer_size=8, sequence_length=10, batch_size=32, epochs=2)
#: of processes, where this one is
NAMESPACE = str(Path("/proc/self/ns/pid").readlink())
ENDLESS = CONFIG.evolve(epochs=10_000)


@pytest.fixture(params=["inline", "local"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    with open_engine(request.param, workers=2 if request.param == "local" else None) as opened:
        yield opened


@pytest.fixture
def local() -> Iterator[Engine]:
    with open_engine("local", workers=2) as opened:
        yield opened


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engines")
    load(Source(data=str(write_text(folder / "words.txt")))).save(folder / "corpus")
    return folder / "corpus"


def job(corpus: Path, folder: Path, slot: Slot, config: TrialConfig = CONFIG, seed: int = 1) -> Job:
    trial = Trial(sweep="s", number=slot.index, config=config, seed=seed)
    return Job(
        trial=trial, slot=slot, training=CorpusTraining(corpus, 200, 0),
        folder=folder / str(slot.index),
    )  # fmt: skip


def listen(engine: Engine, slots: int = 1, within_s: float = 120) -> dict[Slot, list[Message]]:
    heard: dict[Slot, list[Message]] = {}
    until = time.monotonic() + within_s
    ended = 0
    while ended < slots:
        assert time.monotonic() < until, heard
        for slot, message in engine.wait(0.2):
            assert isinstance(message, Message), "slots of this machine stay"
            heard.setdefault(slot, []).append(message)
            ended += isinstance(message, Ended)
    return heard


def losses(messages: list[Message]) -> list[float]:
    return [message.metrics["val_loss"] for message in messages if isinstance(message, EpochDone)]


def wait_for_progress(engine: Engine) -> None:
    until = time.monotonic() + 120
    while not engine.wait(0.2):
        assert time.monotonic() < until


def test_a_trial_reports_each_epoch_and_ends_complete(
    engine: Engine, corpus: Path, tmp_path: Path
) -> None:
    slot = engine.slots[0]
    begun = job(corpus, tmp_path, slot)
    engine.start(begun)
    messages = listen(engine)[slot]
    assert messages[-1] == Ended(Outcome.COMPLETE)
    assert [m.epoch for m in messages if isinstance(m, EpochDone)] == [1, 2]


def test_the_files_of_a_trial_are_collected_once_it_has_ended(
    engine: Engine, corpus: Path, tmp_path: Path
) -> None:
    slot = engine.slots[0]
    engine.start(job(corpus, tmp_path, slot))
    listen(engine)
    files = TrialFiles(folder=engine.collect(slot))
    assert files.weights.stat().st_size > 0
    engine.start(job(corpus, tmp_path / "next", slot))
    listen(engine)
    again = TrialFiles(folder=engine.collect(slot))
    assert again.weights.exists() and again.folder != files.folder


def test_what_a_trial_has_left_can_be_collected_though_the_engine_is_closed(
    engine: Engine, corpus: Path, tmp_path: Path
) -> None:
    slot = engine.slots[0]
    engine.start(job(corpus, tmp_path, slot, ENDLESS))
    heard: list[Event] = []
    while not any(isinstance(message, EpochDone) for message in heard):
        heard += [message for _, message in engine.wait(0.2)]
    engine.close()
    assert TrialFiles(folder=engine.collect(slot)).weights.exists()


def test_there_is_nothing_to_collect_where_nothing_was_started(engine: Engine) -> None:
    with pytest.raises(LookupError, match=str(engine.slots[0])):
        engine.collect(engine.slots[0])


def test_each_slot_is_described(engine: Engine) -> None:
    assert len(set(engine.slots)) == len(engine.slots) > 0
    for slot in engine.slots:
        device = engine.describe(slot)
        assert device.gpu == (slot.gpu is not None) == (device.kind == "gpu")
        assert device.gpu or device.kind.startswith("cpu: ")
        assert device.node == slot.node
        assert device.cores >= 1
        assert (engine.gpu_memory(slot) is None) or device.gpu
    assert set(devices(engine)) == set(map(engine.describe, engine.slots))


def test_an_engine_is_closed_by_its_context_and_starts_nothing_after_that(
    engine: Engine, corpus: Path, tmp_path: Path
) -> None:
    slot = engine.slots[0]
    with engine as entered:
        assert entered is engine
        engine.start(job(corpus, tmp_path, slot, ENDLESS))
    assert engine.wait(0.01) == []
    with pytest.raises(RuntimeError, match="closed"):
        engine.start(job(corpus, tmp_path / "late", slot))
    engine.close()


def test_slots_that_no_event_has_changed_stay(engine: Engine, corpus: Path, tmp_path: Path) -> None:
    before = engine.slots
    engine.start(job(corpus, tmp_path, before[0]))
    heard: list[Event] = []
    while not any(isinstance(event, Ended) for event in heard):
        heard += [event for _, event in engine.wait(0.2)]
    come = sum(isinstance(event, SlotAdded) for event in heard)
    gone = sum(isinstance(event, SlotLost) for event in heard)
    assert len(engine.slots) == len(before) + come - gone


def test_a_slot_is_free_after_its_trial(engine: Engine, corpus: Path, tmp_path: Path) -> None:
    slot = engine.slots[0]
    for attempt in range(2):
        engine.start(job(corpus, tmp_path / str(attempt), slot))
        assert listen(engine)[slot][-1] == Ended(Outcome.COMPLETE)


def test_a_slot_takes_one_trial_at_a_time(engine: Engine, corpus: Path, tmp_path: Path) -> None:
    engine.start(job(corpus, tmp_path, engine.slots[0]))
    with pytest.raises(RuntimeError, match="taken"):
        engine.start(job(corpus, tmp_path, engine.slots[0]))


def test_a_stopped_trial_ends_as_it_is_told(engine: Engine, corpus: Path, tmp_path: Path) -> None:
    slot = engine.slots[0]
    engine.start(job(corpus, tmp_path, slot, ENDLESS))
    wait_for_progress(engine)
    engine.stop(slot, Ended(Outcome.PRUNED, "enough"))
    assert listen(engine)[slot][-1] == Ended(Outcome.PRUNED, "enough")


def test_an_exception_ends_the_trial_with_its_reason(
    engine: Engine, corpus: Path, tmp_path: Path
) -> None:
    slot = engine.slots[0]
    engine.start(job(corpus / "missing", tmp_path, slot))
    ended = listen(engine)[slot][-1]
    assert isinstance(ended, Ended)
    assert ended.outcome is Outcome.ERROR
    assert ended.reason.startswith("FileNotFoundError")


def test_nothing_comes_from_an_idle_engine(engine: Engine) -> None:
    assert engine.wait(0.01) == []


def test_both_engines_give_the_same_bits(corpus: Path, tmp_path: Path) -> None:
    found = []
    for name in ("inline", "local"):
        with open_engine(name) as engine:
            slot = engine.slots[0]
            engine.start(job(corpus, tmp_path / name, slot, CONFIG.evolve(dropout=0.2)))
            found.append(losses(listen(engine)[slot]))
    assert found[0] == found[1]
    assert len(found[0]) == 2


def test_trials_side_by_side_give_the_same_bits_as_alone(
    local: Engine, corpus: Path, tmp_path: Path
) -> None:
    for slot in local.slots:
        local.start(job(corpus, tmp_path, slot))
    heard = listen(local, slots=2)
    first, second = (losses(heard[slot]) for slot in local.slots)
    assert first == second
    assert len(first) == 2


class Elastic(LocalEngine):
    """Workers on slots that come and go, as the nodes of a cluster do."""

    def __init__(self, slots: tuple[Slot, ...], later: Slot) -> None:
        super().__init__(slots)
        self._later = later

    def wait(self, timeout_s: float) -> Sequence[tuple[Slot, Event]]:
        """What trials say; after the first epoch the first slot goes, and another one comes."""
        heard: list[tuple[Slot, Event]] = [*super().wait(timeout_s)]
        gone = self.slots[0]
        if self._later in self.slots or not any(isinstance(one, EpochDone) for _, one in heard):
            return heard
        self.stop(gone, Ended(Outcome.LOST, "its node has gone"))
        while gone in self._running:
            super().wait(timeout_s)
        self.slots = (*self.slots[1:], self._later)
        return [*heard, (gone, SlotLost("its node has gone")), (self._later, SlotAdded())]


def test_a_trial_whose_slot_is_lost_goes_on_elsewhere_with_the_same_bits(data: Path) -> None:
    found = []
    cores = sorted(os.sched_getaffinity(0))
    first, later = Slot(0, core=cores[0], node="a"), Slot(1, core=cores[-1], node="b")
    spec = tiny_spec(epochs=20, data=str(data), trials=2, **PLAIN)
    for engine in (LocalEngine((first,)), Elastic((first,), later)):
        store: Any = MemoryStore()
        with engine:
            state = sweep_of(store, load(spec.source()), engine, spec).run()
        assert state.counts == {"complete": 2}
        found.append([progress.val_losses for progress in state.final])
    assert found[0] == found[1]
    attempts = [(one.trial.attempt, one.slot, one.ended and one.ended.outcome) for one in
                state.finished]  # fmt: skip
    assert attempts == [
        (1, first, Outcome.LOST), (2, later, Outcome.COMPLETE), (1, later, Outcome.COMPLETE),
    ]  # fmt: skip


def test_a_killed_worker_is_lost_and_its_slot_serves_again(
    local: Engine, corpus: Path, tmp_path: Path
) -> None:
    slot = local.slots[0]
    local.start(job(corpus, tmp_path, slot, ENDLESS))
    wait_for_progress(local)
    os.kill(_worker_of(local, slot), signal.SIGKILL)
    assert listen(local)[slot][-1] == Ended(Outcome.LOST, "its worker was killed by SIGKILL")
    local.start(job(corpus, tmp_path / "again", slot))
    assert listen(local)[slot][-1] == Ended(Outcome.COMPLETE)


def test_closing_leaves_no_worker(local: Engine, corpus: Path, tmp_path: Path) -> None:
    local.start(job(corpus, tmp_path, local.slots[0], ENDLESS))
    wait_for_progress(local)
    worker = _worker_of(local, local.slots[0])
    local.close()
    assert not Path(f"/proc/{worker}").exists()


def test_a_worker_has_one_core_and_a_fresh_process(
    local: Engine, corpus: Path, tmp_path: Path
) -> None:
    for slot in local.slots:
        local.start(job(corpus, tmp_path, slot, ENDLESS))
    wait_for_progress(local)
    workers = [_worker_of(local, slot) for slot in local.slots]
    assert len(set(workers)) == 2
    for worker, slot in zip(workers, local.slots, strict=True):
        assert os.sched_getaffinity(worker) == {slot.core}


def test_what_libraries_print_goes_to_the_log_of_the_trial(
    local: Engine, corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    slot = local.slots[0]
    failing = job(corpus / "missing", tmp_path, slot)
    local.start(failing)
    listen(local)
    assert capfd.readouterr() == ("", "")
    assert "Traceback" in failing.log.read_text(encoding="utf-8")


def test_the_next_attempt_goes_on_where_the_last_one_was_killed(
    local: Engine, corpus: Path, tmp_path: Path
) -> None:
    slot = local.slots[0]
    config = CONFIG.evolve(epochs=60, dropout=0.2)
    whole, broken = (job(corpus, tmp_path / name, slot, config) for name in ("whole", "broken"))
    broken = replace(broken, checkpoint_every_s=0.0)
    local.start(broken)
    heard: list[Message] = []
    while sum(isinstance(message, EpochDone) for message in heard) < 3:
        heard += [message for _, message in local.wait(0.2) if isinstance(message, Message)]
    os.kill(_worker_of(local, slot), signal.SIGKILL)
    heard += listen(local)[slot]
    assert heard[-1] == Ended(Outcome.LOST, "its worker was killed by SIGKILL")
    before = losses(heard)
    assert 3 <= len(before) < 60
    local.start(broken)
    again = [m for m in listen(local)[slot] if isinstance(m, EpochDone)]
    assert sum(message.repeated for message in again) >= 2
    local.start(whole)
    expected = losses(listen(local)[slot])
    assert [message.metrics["val_loss"] for message in again] == expected
    assert before == expected[: len(before)]


def test_trials_outlive_the_server_that_forks_them(
    local: Engine, corpus: Path, tmp_path: Path
) -> None:
    first, second = local.slots
    local.start(job(corpus, tmp_path, first, CONFIG.evolve(epochs=40)))
    wait_for_progress(local)
    os.kill(_forkserver(), signal.SIGKILL)
    local.start(job(corpus, tmp_path, second))
    heard = listen(local, slots=2)
    assert len(losses(heard[first])) >= 38  # one or two may have been heard before
    assert heard[second][-1] == Ended(Outcome.COMPLETE)


def test_a_stopped_worker_is_killed_though_its_parent_is_gone(
    local: Engine, corpus: Path, tmp_path: Path
) -> None:
    slot = local.slots[0]
    local.start(job(corpus, tmp_path, slot, ENDLESS))
    wait_for_progress(local)
    worker = _worker_of(local, slot)
    os.kill(worker, signal.SIGSTOP)  # as one that hangs
    os.kill(_forkserver(), signal.SIGKILL)
    local.stop(slot, Ended(Outcome.HUNG, "silent"))
    assert listen(local)[slot][-1] == Ended(Outcome.HUNG, "silent")
    until = time.monotonic() + 60
    while Path(f"/proc/{worker}").exists() and _state(worker) != "Z":
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_pipe_cut_in_the_middle_of_a_message_means_that_the_trial_is_lost(
    local: Engine, corpus: Path, tmp_path: Path
) -> None:
    slot = local.slots[0]
    local.start(job(corpus, tmp_path, slot, ENDLESS))
    wait_for_progress(local)
    running = local._running[slot]  # type: ignore[attr-defined]
    ours, theirs = socket.socketpair()
    running.pipe.close()
    running.pipe = Connection(ours.detach())
    theirs.send(struct.pack("!i", 1000) + b"half of it")  # length, then less than that
    theirs.close()
    ended = listen(local)[slot][-1]
    assert isinstance(ended, Ended)
    assert ended.outcome is Outcome.LOST


def killed_by_hand(engine: Engine, slot: Slot) -> Ended:
    """How a trial has ended whose worker is killed while it trains."""
    wait_for_progress(engine)
    os.kill(_worker_of(engine, slot), signal.SIGKILL)
    ended = listen(engine)[slot][-1]
    assert isinstance(ended, Ended)
    return ended


@pytest.mark.parametrize("readable", [True, False])
def test_a_worker_killed_by_hand_is_lost_though_others_are_killed_for_memory_meanwhile(
    readable: bool,
    local: Engine,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = tmp_path / "kernel.log"
    monkeypatch.setattr("lstm_sweep.search.engines.memory.KERNEL_LOG", log)
    monkeypatch.setattr("lstm_sweep.search.engines.memory.FIRST_NAMESPACE", NAMESPACE)
    if readable:
        log.write_text("")
    slot = local.slots[0]
    local.start(job(corpus, tmp_path, slot, ENDLESS))
    if readable:
        log.write_text(f"3,9,1,-;Out of memory: Killed process {os.getpid()} (python) total-vm:9\n")
    before = memory_kills()
    monkeypatch.setattr("lstm_sweep.search.engines.local.memory_kills", lambda: before + 1)
    ended = killed_by_hand(local, slot)
    assert ended.outcome is Outcome.LOST
    assert ended.reason.startswith("its worker was killed by SIGKILL")
    assert ("not saying whom" in ended.reason) is not readable


@pytest.mark.parametrize(
    "record",
    [
        "3,900,77000,-;Out of memory: Killed process {pid} (python) total-vm:9kB, anon-rss:8kB",
        "6,901,78000,-;Memory cgroup out of memory: Killed process {pid} (python) total-vm:9kB",
        "3,902,79000,-;Killed process {pid} (python) total-vm:9kB",  # before Linux 5.3
    ],
)
def test_a_worker_that_the_kernels_log_names_was_killed_for_memory(
    record: str, local: Engine, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "kernel.log"
    log.write_text("6,1,1,-;Linux version\n")
    monkeypatch.setattr("lstm_sweep.search.engines.memory.KERNEL_LOG", log)
    monkeypatch.setattr("lstm_sweep.search.engines.memory.FIRST_NAMESPACE", NAMESPACE)
    slot = local.slots[0]
    local.start(job(corpus, tmp_path, slot, ENDLESS))
    with log.open("a") as stream:
        stream.write(record.format(pid=_worker_of(local, slot)) + "\n")
    ended = killed_by_hand(local, slot)
    assert ended == Ended(
        Outcome.OUT_OF_MEMORY, "memory of the host: its worker was killed by the kernel"
    )


def test_what_the_log_said_before_a_worker_began_is_about_another(
    local: Engine, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "kernel.log"
    following = range(os.getpid(), os.getpid() + 20_000)  # one of them will be the worker's
    everybody = (f"3,9,1,-;Out of memory: Killed process {pid} (x)" for pid in following)
    log.write_text("\n".join(everybody) + "\n")
    monkeypatch.setattr("lstm_sweep.search.engines.memory.KERNEL_LOG", log)
    monkeypatch.setattr("lstm_sweep.search.engines.memory.FIRST_NAMESPACE", NAMESPACE)
    slot = local.slots[0]
    local.start(job(corpus, tmp_path, slot, ENDLESS))
    assert killed_by_hand(local, slot) == Ended(Outcome.LOST, "its worker was killed by SIGKILL")


def test_a_log_with_the_numbers_of_another_namespace_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "kernel.log"
    log.write_text("")
    monkeypatch.setattr("lstm_sweep.search.engines.memory.KERNEL_LOG", log)
    monkeypatch.setattr("lstm_sweep.search.engines.memory.FIRST_NAMESPACE", "pid:[1]")
    assert KernelLog().memory_kills() is None
    monkeypatch.setattr("lstm_sweep.search.engines.memory.FIRST_NAMESPACE", NAMESPACE)
    assert KernelLog().memory_kills() == set()


@pytest.fixture
def little_memory() -> Iterator[Path]:
    """A control group whose processes get 30 MB more; only root of this machine can make one."""
    root, limit = Path("/sys/fs/cgroup"), "memory.max"
    if (root / "memory").is_dir():
        root, limit = root / "memory", "memory.limit_in_bytes"
    group = root / f"lstm-sweep-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / limit).write_text(str(30 << 20))
    except OSError as error:
        if group.is_dir():
            group.rmdir()
        pytest.skip(f"no control group: {error}")
    if KernelLog().memory_kills() is None:
        group.rmdir()
        pytest.skip("the kernel's log cannot be read")
    yield group
    group.rmdir()


def test_a_worker_that_takes_too_much_memory_is_killed_by_the_kernel_and_told_apart(
    local: Engine, corpus: Path, tmp_path: Path, little_memory: Path
) -> None:
    slot = local.slots[0]
    local.start(job(corpus, tmp_path, slot, ENDLESS.evolve(layer_size=512)))
    (little_memory / "cgroup.procs").write_text(str(_worker_of(local, slot)))
    ended = listen(local)[slot][-1]
    assert isinstance(ended, Ended)
    assert ended.outcome is Outcome.OUT_OF_MEMORY
    assert ended.reason == "memory of the host: its worker was killed by the kernel"


def _forkserver() -> int:
    from multiprocessing import forkserver

    pid = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    assert isinstance(pid, int)
    return pid


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def _worker_of(engine: Engine, slot: Slot) -> int:
    pid = engine._running[slot].process.pid  # type: ignore[attr-defined]
    assert isinstance(pid, int)
    return pid
