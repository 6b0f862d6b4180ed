"""Workers that the kernel kills for their memory are told from those killed by hand."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from lstm_sweep.search.engines import open_engine
from lstm_sweep.search.engines.base import Engine
from lstm_sweep.search.engines.local import memory_kills
from lstm_sweep.search.values.trial import Ended, Outcome
from tests.contract.engine_jobs import (
    ENDLESS,
    job,
    listen,
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


@pytest.mark.parametrize(
    ("more", "number", "outcome"),
    [
        (1, signal.SIGKILL, Outcome.OUT_OF_MEMORY),
        (0, signal.SIGKILL, Outcome.LOST),
        (1, signal.SIGTERM + 20, Outcome.LOST),
    ],
)
def test_a_worker_was_killed_for_memory_if_the_kernel_counts_one_more(
    more: int,
    number: int,
    outcome: Outcome,
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
    assert ended.reason.startswith("memory of the host: ") is (outcome is Outcome.OUT_OF_MEMORY)


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
