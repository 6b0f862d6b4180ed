"""Engines, which run trials. `open_engine` opens one by its name."""

from __future__ import annotations

from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.engines.base import Engine, InlineEngine
from lstm_sweep.search.values.spec import ENGINES


def open_engine(
    name: str, *, workers: int | None = None, per_gpu: int = 1, address: str | None = None
) -> Engine:
    """Open an engine by its name.

    `workers` is its number of slots, None for one on each core or GPU; `per_gpu` is the number of
    slots on each GPU. `address` is Ray's own of a cluster, for `ray`; None for that in RAY_ADDRESS,
    or else for the cluster of this machine.
    """
    check_engine(name)
    if name == "inline":
        return InlineEngine()
    if name == "local":
        from lstm_sweep.search.engines.local import open_local

        return open_local(workers, per_gpu)
    from lstm_sweep.search.engines.ray import RayEngine

    return RayEngine(workers, per_gpu, address)


def check_engine(name: object) -> None:
    """Refuse what is no name of an engine."""
    if name not in tuple(ENGINES):
        raise InputError(f"--on is {shown(name)}: expected one of {', '.join(ENGINES)}")
