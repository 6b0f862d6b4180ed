"""Workers that the kernel kills for their memory are told from those killed by hand."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from lstm_sweep.search.engines import open_engine
from lstm_sweep.search.engines.base import Engine
from lstm_sweep.search.engines.local import KernelLog, memory_kills
from lstm_sweep.search.values.trial import Ended, Outcome, Slot
from tests.conftest import in_full
from tests.contract.engine_jobs import (
    ENDLESS,
    job,
    listen,
    saved_corpus,
    wait_for_progress,
    worker_of,
)

#: of processes, where this one is
NAMESPACE = str(Path("/proc/self/ns/pid").readlink())


@pytest.fixture
def local() -> Iterator[Engine]:
    with open_engine("local", workers=2) as opened:
        yield opened


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_corpus(tmp_path_factory.mktemp("engines"))


def killed_by_hand(engine: Engine, slot: Slot) -> Ended:
    """How a trial has ended whose worker is killed while it trains."""
    wait_for_progress(engine)
    os.kill(worker_of(engine, slot), signal.SIGKILL)
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
    monkeypatch.setattr("lstm_sweep.search.engines.local.KERNEL_LOG", log)
    monkeypatch.setattr("lstm_sweep.search.engines.local.FIRST_NAMESPACE", NAMESPACE)
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
    assert ("perhaps this one" in ended.reason) is not readable


@pytest.mark.parametrize(
    "record",
    [
        "3,900,77000,-;Out of memory: Killed process {pid} (python) total-vm:9kB, anon-rss:8kB",
        *in_full(
            "6,901,78000,-;Memory cgroup out of memory: Killed process {pid} (python) total-vm:9kB",
            "3,902,79000,-;Killed process {pid} (python) total-vm:9kB",  # before Linux 5.3
        ),
    ],
)
def test_a_worker_that_the_kernels_log_names_was_killed_for_memory(
    record: str, local: Engine, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "kernel.log"
    log.write_text("6,1,1,-;Linux version\n")
    monkeypatch.setattr("lstm_sweep.search.engines.local.KERNEL_LOG", log)
    monkeypatch.setattr("lstm_sweep.search.engines.local.FIRST_NAMESPACE", NAMESPACE)
    slot = local.slots[0]
    local.start(job(corpus, tmp_path, slot, ENDLESS))
    with log.open("a") as stream:
        stream.write(record.format(pid=worker_of(local, slot)) + "\n")
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
    monkeypatch.setattr("lstm_sweep.search.engines.local.KERNEL_LOG", log)
    monkeypatch.setattr("lstm_sweep.search.engines.local.FIRST_NAMESPACE", NAMESPACE)
    slot = local.slots[0]
    local.start(job(corpus, tmp_path, slot, ENDLESS))
    assert killed_by_hand(local, slot) == Ended(Outcome.LOST, "its worker was killed by SIGKILL")


def test_a_log_with_the_numbers_of_another_namespace_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "kernel.log"
    log.write_text("")
    monkeypatch.setattr("lstm_sweep.search.engines.local.KERNEL_LOG", log)
    monkeypatch.setattr("lstm_sweep.search.engines.local.FIRST_NAMESPACE", "pid:[1]")
    assert KernelLog().memory_kills() is None
    monkeypatch.setattr("lstm_sweep.search.engines.local.FIRST_NAMESPACE", NAMESPACE)
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
    (little_memory / "cgroup.procs").write_text(str(worker_of(local, slot)))
    ended = listen(local)[slot][-1]
    assert isinstance(ended, Ended)
    assert ended.outcome is Outcome.OUT_OF_MEMORY
    assert ended.reason == "memory of the host: its worker was killed by the kernel"
