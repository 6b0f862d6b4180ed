from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.windows import Scoring
from lstm_sweep.search.engines import hardware
from lstm_sweep.search.engines.local import LocalEngine, find_slots, open_local, place_of
from lstm_sweep.search.engines.slot_sharing import SlotSharing
from lstm_sweep.search.engines.worker import CorpusTraining
from lstm_sweep.search.process import forkserver
from lstm_sweep.search.values.trial import Job, Slot, Trial


@pytest.mark.parametrize(
    "workers, per_gpu, expected",
    [
        (None, 1, ["0", "1"]),
        (None, 2, ["0", "1", "0", "1"]),
        (2, 4, ["0", "1"]),  # fewer than there are places for: each has a GPU of its own
        (3, 2, ["0", "1", "0"]),
        (3, 1, ["0", "1", "0"]),
    ],
)
def test_places_are_spread_evenly_over_gpus(
    workers: int | None, per_gpu: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    slots = find_slots(workers, per_gpu)
    assert [slot.gpu for slot in slots] == expected
    assert [slot.index for slot in slots] == list(range(len(expected)))


def test_a_reserved_slot_is_kept_until_it_is_released_also_while_events_are_waited_for(
    tmp_path: Path,
) -> None:
    slot = Slot(0, core=0)
    sharing, other = (SlotSharing([place_of(slot)], tmp_path) for _ in range(2))
    engine = LocalEngine((slot,), sharing)
    engine.demand(1)
    assert engine.reserve(slot) == "" and engine.wait(0.0) == []
    assert other.take(place_of(slot))[0] == ""
    engine.release()
    assert other.take(place_of(slot))[0] == place_of(slot)
    other.close()
    engine.close()


def test_a_slot_on_which_no_worker_could_be_forked_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot, trial = Slot(0, core=0), Trial(sweep="s", number=0, config=TrialConfig(), seed=1)
    sharing = SlotSharing([place_of(slot)], tmp_path)
    training = CorpusTraining(tmp_path, Scoring(1, 0))
    job = Job(trial=trial, slot=slot, training=training, folder=tmp_path / "0")

    def fail(*arguments: object, **more: object) -> None:
        raise OSError("no process")

    monkeypatch.setattr(forkserver, "fork", fail)
    with LocalEngine((slot,), sharing) as engine:
        assert engine.reserve(slot) == ""
        with pytest.raises(OSError, match="no process"):
            engine.start(job)
        assert sharing.take(place_of(slot))[0] == place_of(slot)


def test_sweeps_with_the_time_of_some_cores_alone_use_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as in two containers with two CPUs each of a machine with four."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    monkeypatch.setenv("LSTM_SWEEP_SLOTS", str(tmp_path))
    monkeypatch.setattr(hardware, "all_cores", lambda: [0, 1, 2, 3])
    monkeypatch.setattr(hardware, "cpu_limit", lambda: 2.0)
    engines = [open_local(None, 1) for _ in range(2)]
    for engine in engines:
        engine.demand(2)
        assert [engine.reserve(slot) for slot in engine.slots] == ["", ""]
    for engine in engines:
        engine.close()


#: prints core and GPU of each slot that a process finds
SLOTS = """
from lstm_sweep.search.engines.local import find_slots
for slot in find_slots():
    print(slot.core, slot.gpu)
"""


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [("-1", ["{core} None"]), ("3", ["None 3"]), ("0,2", ["None 0", "None 2"])],
)
def test_a_batch_job_has_slots_where_it_was_given_cpus_or_gpus(
    gpus: str, expected: list[str]
) -> None:
    core = max(os.sched_getaffinity(0))
    done = subprocess.run(
        [sys.executable, "-c", SLOTS],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": gpus},
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # as Slurm does with --cpus-per-task 1
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [line.format(core=core) for line in expected]
