"""Engines, which run trials. `open_engine` opens one by its name."""

from __future__ import annotations

from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.models.wording import option
from lstm_sweep.search.engines.base import Engine
from lstm_sweep.search.spec import ENGINES


def open_engine(name: str, *, workers: int | None = None, per_gpu: int = 1) -> Engine:
    """Open an engine by its name.

    `workers` is its number of slots, None for one on each core or GPU; `per_gpu` is the number of
    slots on each GPU. `inline` has one slot and ignores both.

    Raises:
        InputError: there is no such engine, or it cannot have such slots.
    """
    if name == "inline":
        from lstm_sweep.search.engines.inline import InlineEngine

        return InlineEngine()
    if name == "local":
        from lstm_sweep.search.engines.local import LocalEngine, find_slots

        return LocalEngine(find_slots(workers, per_gpu))
    raise InputError(option("on"), f" is {shown(name)}: expected one of {', '.join(ENGINES)}")
