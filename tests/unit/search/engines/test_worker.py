from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.windows import Scoring
from lstm_sweep.search.engines import worker
from lstm_sweep.search.engines.worker import CorpusTraining
from lstm_sweep.search.values.trial import Ended, Job, Message, Outcome, RoundDone, Slot, Trial


class ResourceExhaustedError(Exception):
    """Bears the name by which TensorFlow says that memory is used up."""


def ended_by(error: Exception, slot: Slot, monkeypatch: pytest.MonkeyPatch) -> Ended:
    def train(job: Job) -> Iterator[Message]:
        yield RoundDone(1, {"val_loss": 1.0})
        raise error

    monkeypatch.setattr(worker, "_train", train)
    trial = Trial(sweep="s", number=0, config=TrialConfig(), seed=1)
    here = Path()
    job = Job(trial=trial, slot=slot, training=CorpusTraining(here, Scoring(1, 0)), folder=here)
    *_, last = worker.run(job)
    assert isinstance(last, Ended)
    return last


PLACE = "on /job:localhost/replica:0/task:0/device"


@pytest.mark.parametrize(
    ("error", "gpu", "where"),
    [
        (MemoryError("x"), None, "host"),
        (MemoryError("x"), "0", "host"),
        (ResourceExhaustedError("OOM when allocating"), None, "host"),
        (ResourceExhaustedError("OOM when allocating"), "0", "card"),
        (ResourceExhaustedError(f"OOM {PLACE}:GPU:0 by allocator GPU_0_bfc"), "0", "card"),
        (ResourceExhaustedError(f"OOM {PLACE}:CPU:0 by allocator gpu_host_bfc"), "0", "host"),
    ],
)
def test_memory_of_host_and_card_are_told_apart(
    error: Exception, gpu: str | None, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = ended_by(error, Slot(0, gpu=gpu), monkeypatch)
    assert ended.outcome is Outcome.OUT_OF_MEMORY
    assert ended.reason == f"memory of the {where}: {type(error).__name__}: {error}"


def test_another_error_is_one_line_and_its_traceback_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = ended_by(ValueError("no such layer\nmore of it"), Slot(0), monkeypatch)
    assert ended == Ended(Outcome.ERROR, "ValueError: no such layer")
    assert "Traceback" in capsys.readouterr().err


def test_the_name_of_a_file_that_is_no_text_is_a_reason_that_a_store_can_keep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = b"caf\xe9.csv".decode("utf-8", "surrogateescape")
    ended = ended_by(ValueError(f"no file {name}"), Slot(0), monkeypatch)
    assert ended == Ended(Outcome.ERROR, r"ValueError: no file caf\udce9.csv")


class Full(io.StringIO):
    """A log on a disk that is full."""

    def write(self, text: str) -> int:
        """Fail."""
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_log_that_cannot_be_written_does_not_hide_why_a_trial_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stderr", Full())
    ended = ended_by(OSError(errno.ENOSPC, "No space left on device"), Slot(0), monkeypatch)
    assert (ended.outcome, ended.unfinished) == (Outcome.LOST, True)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("file write failed: errno = 28, error message = 'No space left on device'"),
    ],
)
def test_a_trial_without_space_for_its_files_is_lost_and_goes_on_later(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = ended_by(error, Slot(0), monkeypatch)
    assert (ended.outcome, ended.unfinished) == (Outcome.LOST, True)
    assert ended.reason.startswith("no space left: ")
