"""What happens before a sweep begins: its name, its slots, and how much it may take."""

from __future__ import annotations

import itertools
from pathlib import Path

from lstm_sweep.search.api.errors import SweepExistsError
from lstm_sweep.search.engines import open_engine
from lstm_sweep.search.engines.base import Engine
from lstm_sweep.search.engines.local import cores
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.store import archive
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.sweep.task import Task


def engine_of(spec: SweepSpec, per_gpu: int | None = None) -> Engine:
    """The engine of a spec; `per_gpu` trials share a GPU, or as many as the spec says, or one."""
    stated = spec.per_gpu if isinstance(spec.per_gpu, int) else 1
    return open_engine(spec.on, workers=spec.workers, per_gpu=per_gpu or stated)


def sharing(spec: SweepSpec, task: Task, engine: Engine) -> tuple[int, list[str]]:
    """How many trials are to share a GPU; if that is measured, which `engine` does, also why."""
    if isinstance(spec.per_gpu, int):
        return spec.per_gpu, []
    count, why = task.trials_per_gpu(spec, engine, len(cores()))
    return count, [why]


def check_free(store: Store, name: str) -> None:
    """Refuse a name that a sweep of the store has.

    Raises:
        SweepExistsError: one has it.
    """
    run = archive.find_sweep(store, name)
    if run is None:
        return
    state = run.data.tags.get(Tag.STATE, "")
    advice = {
        "finished": f"lstm-sweep trials {name} lists its trials",
        "running": f"lstm-sweep stop {name} ends it, lstm-sweep resume {name} goes on with it",
    }.get(state, f"lstm-sweep resume {name} goes on with it")
    raise SweepExistsError(
        f"sweep '{name}' exists in {store.settings}, it is {state}: expected a new --name; {advice}"
    )


def free_name(store: Store, data: str) -> str:
    """The name of the data with the first number that no sweep of the store has."""
    stem = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in data)
    stem = Path(stem).stem.strip(".-_") or "sweep"
    taken = {run.data.tags[Tag.NAME] for run in archive.sweeps(store)}
    return next(
        name for number in itertools.count(1) if (name := f"{stem[:80]}-{number}") not in taken
    )


def budget(spec: SweepSpec, name: str, slots: int) -> str:
    """How much a sweep may take, in a line."""
    budget = f"{spec.trials} trials"
    if spec.minutes is not None:
        budget += f" or {spec.minutes:g} minutes"
    return f"sweep {name}: up to {budget}, {slots} at once, {spec.algo}, seed {spec.seed}"
