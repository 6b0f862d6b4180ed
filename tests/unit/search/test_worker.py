from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.config import TrialConfig
from search import worker
from search.trial import Ended, EpochDone, Job, Message, Outcome, Slot, Trial


class ResourceExhaustedError(Exception):
    """Bears the name by which TensorFlow says that memory is used up."""


def ended_by(error: Exception, slot: Slot, monkeypatch: pytest.MonkeyPatch) -> Ended:
    def train(job: Job) -> Iterator[Message]:
        yield EpochDone(1, {"val_loss": 1.0})
        raise error

    monkeypatch.setattr(worker, "_train", train)
    trial = Trial(sweep="s", number=0, config=TrialConfig(), seed=1)
    here = Path()
    job = Job(trial=trial, slot=slot, corpus=here, targets=1, targets_seed=0, folder=here)
    *_, last = worker.run(job)
    assert isinstance(last, Ended)
    return last


@pytest.mark.parametrize("error", [MemoryError("x"), ResourceExhaustedError("OOM when allocating")])
@pytest.mark.parametrize(
    "slot, where",
    [(Slot(0, core=1), "memory of the host"), (Slot(0, gpu="0"), "memory of the card")],
)
def test_memory_of_host_and_card_are_told_apart(
    error: Exception, slot: Slot, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = ended_by(error, slot, monkeypatch)
    assert ended.outcome is Outcome.OUT_OF_MEMORY
    assert ended.reason == f"{where}: {type(error).__name__}: {error}"


def test_an_error_of_jax_about_memory_is_known_by_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = ended_by(RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), Slot(0), monkeypatch)
    assert ended.outcome is Outcome.OUT_OF_MEMORY


def test_another_error_is_one_line_and_its_traceback_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = ended_by(ValueError("no such layer\nmore of it"), Slot(0), monkeypatch)
    assert ended == Ended(Outcome.ERROR, "ValueError: no such layer")
    assert "Traceback" in capsys.readouterr().err


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
