"""Trials in processes of this machine: killed, stopped, cut off, side by side."""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from unittest import mock

import pytest

from lstm_sweep.models.data.windows import Scoring
from lstm_sweep.models.rounds import RoundDone, TrainingEvent
from lstm_sweep.search.engines import hardware, open_engine
from lstm_sweep.search.engines.base import Engine
from lstm_sweep.search.engines.local import memory_kills
from lstm_sweep.search.engines.worker import CorpusTraining
from lstm_sweep.search.process import forkserver
from lstm_sweep.search.process.scoped import is_running, start_ticks
from lstm_sweep.search.values.trial import Ended, Job, Message, Outcome
from tests.contract.engine_jobs import (
    CONFIG,
    ENDLESS,
    job,
    listen,
    losses,
    saved_corpus,
    wait_for_progress,
    worker_of,
)


@pytest.fixture
def local() -> Iterator[Engine]:
    with open_engine("local", workers=2) as opened:
        yield opened


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_corpus(tmp_path_factory.mktemp("engines"))


@pytest.mark.parametrize(("given", "found"), [("", "PCI_BUS_ID"), ("FASTEST_FIRST", None)])
def test_gpus_of_trials_have_the_numbers_of_nvml_unless_another_order_is_given(
    given: str, found: str | None
) -> None:
    from lstm_sweep.models import backend

    with mock.patch.dict(os.environ, {"CUDA_DEVICE_ORDER": given}):
        if not given:
            del os.environ["CUDA_DEVICE_ORDER"]
        backend.environment("1")
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
        assert os.environ["CUDA_DEVICE_ORDER"] == (found or given)


def test_a_worker_has_one_core_and_a_fresh_process_and_is_gone_when_all_is_closed(
    local: Engine, corpus: Path, tmp_path: Path
) -> None:
    for slot in local.slots:
        local.start(job(corpus, tmp_path, slot, ENDLESS))
    wait_for_progress(local)
    workers = [worker_of(local, slot) for slot in local.slots]
    assert len(set(workers)) == 2
    for worker, slot in zip(workers, local.slots, strict=True):
        own = {slot.core} if hardware.pins() else os.sched_getaffinity(0)
        assert os.sched_getaffinity(worker) == own
    local.close()
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)


def test_what_libraries_print_goes_to_the_log_of_the_trial(
    local: Engine, corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    failing = job(corpus / "missing", tmp_path, local.slots[0])
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
    while sum(isinstance(message, RoundDone) for message in heard) < 3:
        heard += [message for _, message in local.wait(0.2) if isinstance(message, Message)]
    os.kill(worker_of(local, slot), signal.SIGKILL)
    heard += listen(local)[slot]
    assert heard[-1] == Ended(Outcome.LOST, "its worker was killed by SIGKILL")
    before = losses(heard)
    assert 3 <= len(before) < 60
    local.start(broken)
    again = [m for m in listen(local)[slot] if isinstance(m, RoundDone)]
    assert sum(message.repeated for message in again) >= 2
    local.start(whole)
    expected = losses(listen(local)[slot])
    assert [message.metrics["val_loss"] for message in again] == expected
    assert before == expected[: len(before)]


def test_trials_are_lost_with_the_server_that_forks_them_and_none_runs_on(
    local: Engine, corpus: Path, tmp_path: Path
) -> None:
    first, second = local.slots
    for slot in local.slots:
        local.start(job(corpus, tmp_path / str(slot.index), slot, ENDLESS))
    wait_for_progress(local)
    workers = [worker_of(local, slot) for slot in local.slots]
    born = [start_ticks(worker) for worker in workers]
    os.kill(workers[1], signal.SIGSTOP)  # as one that hangs
    local.stop(second, Ended(Outcome.HUNG, "silent"))
    os.kill(_forkserver(), signal.SIGKILL)
    heard = listen(local, slots=2)
    why = "the process that had started its worker has died"
    assert heard[first][-1] == Ended(Outcome.LOST, why)
    assert heard[second][-1] == Ended(Outcome.HUNG, "silent")
    until = time.monotonic() + 60
    while any(map(is_running, workers, born)):
        assert time.monotonic() < until
        time.sleep(0.1)
    local.start(job(corpus, tmp_path / "again", second))
    assert listen(local)[second][-1] == Ended(Outcome.COMPLETE)


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


@dataclass(frozen=True)
class Forking(CorpusTraining):
    """Ends its process, but not the one that it forks."""

    def events(self, job: Job) -> Iterator[TrainingEvent]:
        if child := os.fork():
            (job.folder / "child").write_text(str(child), encoding="utf-8")
            os._exit(3)
        time.sleep(60)
        yield from ()


def test_a_worker_has_ended_whatever_has_its_pipe_open(
    local: Engine, corpus: Path, tmp_path: Path
) -> None:
    usual = job(corpus, tmp_path, local.slots[0])
    local.start(replace(usual, training=Forking(corpus, Scoring(200, 0))))
    heard = listen(local)[local.slots[0]]
    os.kill(int((usual.folder / "child").read_text(encoding="utf-8")), signal.SIGKILL)
    assert heard[-1] == Ended(Outcome.LOST, "its worker exited with code 3")


def _forkserver() -> int:
    pid = forkserver._servers[False]._forkserver_pid  # type: ignore[attr-defined]
    assert isinstance(pid, int)
    return pid


# Workers that the kernel kills for their memory are told from those killed by hand


@pytest.mark.parametrize(
    ("more", "number", "outcome", "reason"),
    [
        (1, signal.SIGKILL, Outcome.OUT_OF_MEMORY, "memory of the host: "),
        # one that has no name
        (1, signal.SIGRTMIN + 1, Outcome.LOST, "its worker was killed by signal 35"),
        (0, signal.SIGKILL, Outcome.LOST, "its worker was killed by SIGKILL"),
    ],
)
def test_a_killed_worker_is_lost_or_was_killed_for_memory_if_the_kernel_counts_one_more(
    more: int,
    number: int,
    outcome: Outcome,
    reason: str,
    local: Engine,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slot = local.slots[0]
    local.start(job(corpus, tmp_path, slot, ENDLESS))
    before = memory_kills()
    monkeypatch.setattr("lstm_sweep.search.engines.local.memory_kills", lambda: before + more)
    wait_for_progress(local)
    os.kill(worker_of(local, slot), number)
    ended = listen(local)[slot][-1]
    assert isinstance(ended, Ended) and ended.outcome is outcome
    assert ended.reason.startswith(reason)
    local.start(job(corpus, tmp_path / "again", slot))
    assert listen(local)[slot][-1] == Ended(Outcome.COMPLETE)


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
    yield group
    group.rmdir()


def test_a_worker_that_takes_too_much_memory_is_killed_by_the_kernel_and_told_apart(
    local: Engine, corpus: Path, tmp_path: Path, little_memory: Path
) -> None:
    slot = local.slots[0]
    local.start(job(corpus, tmp_path, slot, ENDLESS.evolve(layer_size=512)))
    (little_memory / "cgroup.procs").write_text(str(worker_of(local, slot)))
    ended = listen(local)[slot][-1]
    assert isinstance(ended, Ended) and ended.outcome is Outcome.OUT_OF_MEMORY
