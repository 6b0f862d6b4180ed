"""`--per-gpu auto`: as many trials share a GPU as its memory is measured to hold.

The largest network that the search may try is trained on the GPU for a moment, in a worker like any
other, and what the driver says of the GPU's memory before and meanwhile is compared: that counts
CUDA and its libraries in, and what others have on the card.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from lstm_sweep.models.config import TrialConfig, as_lstm_config
from lstm_sweep.models.size import parameters
from lstm_sweep.search.engines import gpus
from lstm_sweep.search.engines.base import Engine
from lstm_sweep.search.engines.gpus import GpuMemory
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.sweep.task import Task
from lstm_sweep.search.trial import Ended, EpochDone, Job, Outcome, Progressed, Trial

#: share of a GPU's free memory that trials may be given
SHARE = 0.9
#: draws of a space among which the largest network is looked for
DRAWS = 1_000
#: seconds that a measurement may take
WITHIN_S = 600.0


def fitting(needed: int, free: int, cores: int) -> int:
    """How many trials that need so much fit into what a GPU has free; `cores` are to feed it.

    >>> fitting(needed=8_000, free=79_500, cores=16)
    8
    """
    return max(1, min(int(SHARE * free) // needed, cores))


def largest(spec: SweepSpec, alphabet: int, admits: Callable[[TrialConfig], bool]) -> TrialConfig:
    """The config of a search that takes the most memory, among many draws that are admitted."""
    rng = np.random.default_rng(spec.seed)
    drawn = filter(admits, (as_lstm_config(spec.space.sample(rng)) for _ in range(DRAWS)))
    middle = as_lstm_config(spec.space.middle())
    return max(drawn, key=lambda config: _numbers(config, alphabet), default=middle)


def _numbers(config: TrialConfig, alphabet: int) -> int:
    """About how many numbers a training step keeps.

    Weights with their gradients and what the optimizer knows of them, gates of all time steps, and
    logits with their gradients: of each time step, or of the last if the network is bidirectional.
    """
    both = config.direction == "bi"
    steps = config.batch_size * config.sequence_length
    gates = 8 * config.layers * config.layer_size * (2 if both else 1) * steps
    logits = 3 * alphabet * (config.batch_size if both else steps)
    return 4 * parameters(config, alphabet) + gates + logits


def pack(spec: SweepSpec, subject: Task, engine: Engine, cores: int) -> tuple[int, str]:
    """How many trials of a sweep share a GPU, and why, for people.

    `engine` has a slot on each GPU; its first is used, and free again afterwards.
    """
    cards = {slot.gpu: slot for slot in engine.slots if slot.gpu is not None}
    before = gpus.memory()
    if not cards or not all(gpu in before for gpu in cards):
        why = "the driver does not say how much memory they have" if cards else "there is no GPU"
        return 1, f"--per-gpu auto: {why}"
    config = largest(spec, subject.data_size.alphabet if subject.data_size else 0, subject.admits)
    size = f"{config.direction} {config.layers}x{config.layer_size}, batch {config.batch_size}"
    slot = next(iter(cards.values()))
    with tempfile.TemporaryDirectory(prefix="lstm-sweep-") as scratch:
        subject.save(Path(scratch))
        trial = Trial(sweep="measured", number=0, config=config, seed=spec.seed)
        meanwhile = _while_it_trains(engine, subject.job(trial, slot, Path(scratch)))
    gpu = slot.gpu or ""
    needed = meanwhile[gpu].used - before[gpu].used if gpu in meanwhile else 0
    if needed <= 0:  # it did not come to train, or others have left the GPU meanwhile
        return 1, f"--per-gpu auto: the largest network ({size}) could not be measured: 1 trial"
    free = min(before[one].total - before[one].used for one in cards)
    count = fitting(needed, free, max(1, cores // len(cards)))
    return count, (
        f"--per-gpu auto: the largest network ({size}) takes {needed:,} of {free:,} MiB free: "
        f"{count} at once on a GPU"
    )


def _while_it_trains(engine: Engine, job: Job) -> Mapping[str, GpuMemory]:
    """Memory once a job trains; empty if it ends before that. The job is ended."""
    found: Mapping[str, GpuMemory] = {}
    engine.start(job)
    until = time.monotonic() + WITHIN_S
    while True:
        for _, message in engine.wait(1.0):
            if isinstance(message, Ended):
                return found
            if isinstance(message, Progressed | EpochDone) and not found:
                found = gpus.memory()
                engine.stop(job.slot, Ended(Outcome.STOPPED, "measured"))
        if time.monotonic() > until:
            engine.stop(job.slot, Ended(Outcome.STOPPED, "too slow to be measured"))
