"""`--per-gpu auto`: as many trials share a GPU as its memory is measured to hold.

The largest network that the search may try is trained on the GPU for a moment, in a worker like any
other, and what the driver says of the GPU's memory before and meanwhile is compared: that counts
CUDA and its libraries in, and what others have on the card.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from lstm_sweep.models.config import TrialConfig, as_lstm_config
from lstm_sweep.models.size import parameters
from lstm_sweep.search.engines import open_engine
from lstm_sweep.search.engines.base import Engine, GpuMemory, SlotLost
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.sweep.task import Task
from lstm_sweep.search.trial import (
    Ended,
    Job,
    Outcome,
    Progressed,
    RoundDone,
    Trial,
    trial_seed,
)

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
    return max(drawn, key=lambda config: numbers(config, alphabet), default=middle)


def numbers(config: TrialConfig, alphabet: int) -> int:
    """About how many numbers a training step keeps.

    Weights with their gradients, their averages, their masks and what the optimizer knows of them,
    gates of all time steps, and logits with their gradients: of each time step, or of the last if
    the network is bidirectional.
    """
    both = config.direction == "bi"
    steps = config.batch_size * config.sequence_length
    gates = 8 * config.layers * config.layer_size * (2 if both else 1) * steps
    logits = 3 * alphabet * (config.batch_size if both else steps)
    kept = 4 + (config.averaging != "off") + 2 * (config.recurrent_dropout > 0)
    return kept * parameters(config, alphabet) + gates + logits


@contextmanager
def sharing(
    spec: SweepSpec, task: Task, engine: Engine, ray_address: str | None = None
) -> Iterator[tuple[Engine, list[str]]]:
    """The engine that a sweep runs on, and what people should know of it.

    That is `engine`, or if its GPUs have to be measured first, another one in its place.
    """
    if isinstance(spec.per_gpu, int):
        yield engine, []
        return
    count, why = task.trials_per_gpu(spec, engine)
    engine.close()
    with open_engine(spec.on, workers=spec.workers, per_gpu=count, address=ray_address) as shared:
        yield shared, [why]


def pack(config: TrialConfig, seed: int, task: Task, engine: Engine) -> tuple[int, str]:
    """How many trials share a GPU, by the config that takes the most memory; why, for people.

    `engine` has a slot on each GPU; its first is used, and free again afterwards.
    """
    #: by node and GPU: nodes may number theirs alike
    cards = {(slot.node, slot.gpu): slot for slot in engine.slots if slot.gpu is not None}
    before = {card: engine.gpu_memory(slot) for card, slot in cards.items()}
    known = {card: memory for card, memory in before.items() if memory}
    if not cards or len(known) < len(cards):
        why = "the driver does not say how much memory they have" if cards else "there is no GPU"
        return 1, f"--per-gpu auto: {why}"
    size = f"{config.direction} {config.layers}x{config.layer_size}, batch {config.batch_size}"
    card, slot = next(iter(cards.items()))
    with tempfile.TemporaryDirectory(prefix="lstm-sweep-") as scratch:
        task.save(Path(scratch))
        trial = Trial(sweep="measured", number=0, config=config, seed=trial_seed(seed, 0))
        meanwhile = _while_it_trains(engine, task.job(trial, slot, Path(scratch)))
    needed = meanwhile.used - known[card].used if meanwhile else 0
    if needed <= 0:  # it did not come to train, or others have left the GPU meanwhile
        return 1, f"--per-gpu auto: the largest network ({size}) could not be measured: 1 trial"
    free = min(memory.total - memory.used for memory in known.values())
    on_node = Counter(node for node, _ in cards)
    cores = min(engine.describe(slot).cores // on_node[slot.node] for slot in cards.values())
    count = fitting(needed, free, max(1, cores))
    return count, (
        f"--per-gpu auto: the largest network ({size}) takes {needed:,} of {free:,} MiB free: "
        f"{count} at once on a GPU"
    )


def _while_it_trains(engine: Engine, job: Job) -> GpuMemory | None:
    """Memory once a job trains; None if it ends before that. The job is ended."""
    found: GpuMemory | None = None
    engine.start(job)
    until = time.monotonic() + WITHIN_S
    while True:
        for slot, event in engine.wait(1.0):
            if slot == job.slot and isinstance(event, Ended | SlotLost):
                return found
            if isinstance(event, Progressed | RoundDone) and not found:
                found = engine.gpu_memory(job.slot)
                engine.stop(job.slot, Ended(Outcome.STOPPED, "measured"))
        if time.monotonic() > until:
            engine.stop(job.slot, Ended(Outcome.STOPPED, "too slow to be measured"))
