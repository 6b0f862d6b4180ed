"""`--per-gpu auto`: as many trials share a GPU as its memory is measured to hold.

The largest network that the search may try is trained on the GPU for a moment, in a worker like any
other, and what the driver says of the GPU's memory before and meanwhile is compared: that counts
CUDA and its libraries in, and what others have on the card.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.config import TrialConfig, ours
from search.engines.base import Engine
from search.spec import SweepSpec
from search.subject import Subject
from search.trial import Ended, EpochDone, Job, Outcome, Progressed, Trial

#: share of a GPU's free memory that trials may be given
SHARE = 0.9
#: draws of a space among which the largest network is looked for
DRAWS = 1_000
#: seconds that a measurement may take
WITHIN_S = 600.0


@dataclass(frozen=True)
class Memory:
    """Memory of a GPU, MiB."""

    used: int
    total: int


def read_memory() -> dict[str, Memory]:
    """Memory of each GPU by its number, and by its UUID; empty where the driver does not say."""
    if not shutil.which("nvidia-smi"):
        return {}
    query = "--query-gpu=index,uuid,memory.used,memory.total"
    command = ["nvidia-smi", query, "--format=csv,noheader,nounits"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    found = {}
    for line in asked.stdout.splitlines():
        index, uuid, *sizes = (part.strip() for part in line.split(","))
        if len(sizes) == 2 and all(size.isdecimal() for size in sizes):
            found[index] = found[uuid] = Memory(*map(int, sizes))
    return found


def fitting(before: Memory, meanwhile: Memory, cores: int) -> int:
    """How many trials one GPU holds, if one took what was used more; `cores` are there to feed it.

    >>> fitting(Memory(500, 80_000), Memory(8_500, 80_000), cores=16)
    8
    """
    needed = max(1, meanwhile.used - before.used)
    return max(1, min(int(SHARE * (before.total - before.used)) // needed, cores))


def largest(spec: SweepSpec, admits: Callable[[TrialConfig], bool]) -> TrialConfig:
    """The config of a search that takes the most memory, among many draws that are admitted."""
    rng = np.random.default_rng(spec.seed)
    drawn = [ours(spec.space.sample(rng)) for _ in range(DRAWS)]
    return max(filter(admits, drawn), key=_numbers, default=ours(spec.space.middle()))


def _numbers(config: TrialConfig) -> int:
    """About how many numbers a training step keeps: gates of all time steps, and the weights."""
    units = config.layer_size * (2 if config.direction == "bi" else 1)
    steps = config.batch_size * config.sequence_length
    return config.layers * (8 * units * steps + 12 * units * config.layer_size)


def pack(spec: SweepSpec, subject: Subject, engine: Engine, cores: int) -> tuple[int, str]:
    """How many trials of a sweep share a GPU, and why, for people.

    `engine` has a slot on each GPU; its first is used, and free again afterwards.
    """
    gpus = {slot.gpu: slot for slot in engine.slots if slot.gpu is not None}
    before = read_memory()
    if not gpus or not all(gpu in before for gpu in gpus):
        why = "nvidia-smi does not say how much memory they have" if gpus else "there is no GPU"
        return 1, f"--per-gpu auto: {why}"
    config = largest(spec, subject.admits)
    size = f"{config.direction} {config.layers}x{config.layer_size}, batch {config.batch_size}"
    slot = next(iter(gpus.values()))
    with tempfile.TemporaryDirectory(prefix="lstm-sweep-") as scratch:
        subject.save(Path(scratch))
        trial = Trial(sweep="measured", number=0, config=config, seed=spec.seed)
        meanwhile = _while_it_trains(engine, subject.job(trial, slot, Path(scratch)))
    gpu = slot.gpu or ""
    if gpu not in meanwhile:
        return 1, f"--per-gpu auto: the largest network ({size}) could not be measured: 1 trial"
    smallest = min((before[one] for one in gpus), key=lambda memory: memory.total - memory.used)
    taken = meanwhile[gpu].used - before[gpu].used
    count = fitting(
        smallest, Memory(smallest.used + taken, smallest.total), max(1, cores // len(gpus))
    )
    return count, (
        f"--per-gpu auto: the largest network ({size}) takes {taken:,} of "
        f"{smallest.total - smallest.used:,} MiB free: {count} at once on a GPU"
    )


def _while_it_trains(engine: Engine, job: Job) -> Mapping[str, Memory]:
    """Memory once a job trains; empty if it ends before that. The job is ended."""
    found: Mapping[str, Memory] = {}
    engine.start(job)
    until = time.monotonic() + WITHIN_S
    while True:
        for _, message in engine.wait(1.0):
            if isinstance(message, Ended):
                return found
            if isinstance(message, Progressed | EpochDone) and not found:
                found = read_memory()
                engine.stop(job.slot, Ended(Outcome.STOPPED, "measured"))
        if time.monotonic() > until:
            engine.stop(job.slot, Ended(Outcome.STOPPED, "too slow to be measured"))
