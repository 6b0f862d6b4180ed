"""When checkpoints are copied, without Ray; `contract` kills the nodes of a real cluster."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.windows import Scoring
from lstm_sweep.search.engines import ray
from lstm_sweep.search.engines.ray import Checkpoints
from lstm_sweep.search.engines.ray_agent import KeptCheckpoint
from lstm_sweep.search.engines.trainings import CorpusTraining
from lstm_sweep.search.values.trial import Job, Slot, Trial


class Member:
    """Stands in for an agent: each answer is the one of its calls that is next."""

    def __init__(self, *answers: KeptCheckpoint | None) -> None:
        self.answers = list(answers)
        self.asked = list[int]()

    def call(self, name: str, slot: Slot, trial: Trial, before: int) -> Any:
        assert name == "checkpoint" and trial.number == slot.index
        self.asked.append(before)
        return self.answers.pop(0) if self.answers else None


@pytest.fixture
def checkpoints(monkeypatch: pytest.MonkeyPatch) -> Iterator[Checkpoints]:
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get=lambda answer, timeout: answer))
    monkeypatch.setattr(ray, "EVERY_S", 0.01)
    made = Checkpoints()
    yield made
    made.close()


def job(folder: Path, number: int = 0) -> Job:
    trial = Trial(sweep="s", number=number, config=TrialConfig(), seed=0)
    training = CorpusTraining(folder / "no", Scoring(1, 0))
    return Job(trial=trial, slot=Slot(number), training=training, folder=folder / str(number))


def kept(version: int, text: bytes) -> KeptCheckpoint:
    return KeptCheckpoint(version, np.frombuffer(text, np.uint8))


def wait_for(member: Member, calls: int) -> None:
    until = time.monotonic() + 20
    while len(member.asked) < calls:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_the_newest_checkpoint_of_a_trial_is_in_its_folder(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    member: Any = Member(None, kept(5, b"first"), None, kept(7, b"second"))
    begun = job(tmp_path)
    checkpoints.begin(begun, member)
    wait_for(member, 6)
    assert begun.checkpoint.read_bytes() == b"second"
    assert member.asked[:6] == [0, 0, 5, 5, 7, 7], "an agent is told what is there already"


def test_nothing_is_written_for_a_trial_that_has_ended(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    ended = job(tmp_path, 1)

    class Late(Member):
        def call(self, name: str, slot: Slot, trial: Trial, before: int) -> Any:
            checkpoints.end(ended.slot)  # meanwhile
            return super().call(name, slot, trial, before)

    late: Any = Late(kept(5, b"late"))
    checkpoints.begin(ended, late)
    wait_for(late, 1)
    other: Any = Member(kept(1, b"other"))
    checkpoints.begin(job(tmp_path, 2), other)
    wait_for(other, 2)
    assert not ended.folder.exists() and len(late.asked) == 1
