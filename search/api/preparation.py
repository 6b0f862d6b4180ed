"""What happens before a sweep begins: its name, its slots, and how much it may take."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from pathlib import Path

from lstm_sweep.search.api.errors import SweepExistsError
from lstm_sweep.search.driver.resume import resuming
from lstm_sweep.search.engines import open_engine
from lstm_sweep.search.engines.base import Engine
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.values.spec import SweepSpec

#: number at the end of a name, and sweeps of such names that are looked at, the newest
NUMBER, LATEST = re.compile("([0-9]{1,9})"), 20


def engine_of(spec: SweepSpec, ray_address: str | None = None) -> Engine:
    """The engine of a spec; `ray_address` is Ray's own address of a cluster, for `ray`."""
    return open_engine(spec.on, workers=spec.workers, per_gpu=spec.per_gpu, address=ray_address)


def is_new(tags: Mapping[str, str]) -> bool:
    """Whether a sweep has only waited in a queue so far; its driver notes its slots."""
    return Tag.SUBMITTED in tags and Tag.SLOTS not in tags


def check_free(store: Store, name: str) -> None:
    """Refuse a name that a sweep of the store has.

    Raises:
        SweepExistsError: one has it.
    """
    run = reader.find_sweep(store, name)
    if run is None:
        return
    state = run.data.tags.get(Tag.STATE, "")
    advice = {
        "finished": f"lstm-sweep trials {name} lists its trials",
        "running": f"lstm-sweep stop {name} ends it, {resuming(name)}",
    }.get(state, resuming(name))
    raise SweepExistsError(
        f"sweep '{name}' exists in {store.settings}, it is {state}: expected a new --name; {advice}"
    )


def free_name(store: Store, data: str) -> str:
    """The name of the data with a number that no sweep of the store has, after that of the last."""
    stem = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in data)
    stem = Path(stem).stem.strip(".-_") or "sweep"
    stem = f"{stem[:80]}-"
    names = [run.data.tags[Tag.NAME] for run in store.sweeps_with_name(stem, LATEST)]
    numbers = [int(found[1]) for name in names if (found := NUMBER.fullmatch(name[len(stem) :]))]
    first = 1 + max(numbers, default=0)
    return next(
        name
        for number in itertools.count(first)
        if not reader.find_sweep(store, name := f"{stem}{number}")
    )
