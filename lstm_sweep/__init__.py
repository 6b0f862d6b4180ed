"""Hyperparameter search for LSTM sequence models.

    import lstm_sweep as ls

    sweep = ls.launch(data="logs/", trials=40, minutes=30)
    sweep.trials()
    model = sweep.best.export("best-model")

Nothing heavy is imported before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lstm_sweep._launch import Service, SweepFields, connect, launch, prune, sweep, sweeps
    from lstm_sweep._model import Model, load
    from lstm_sweep._sweep import Sweep
    from lstm_sweep._trial import Rerun, Trial
    from lstm_sweep.models.errors import InputError
    from lstm_sweep.search.actions.sweeps import SweepStatusReport
    from lstm_sweep.search.actions.trials import TrialComparison
    from lstm_sweep.search.store.faults import StoreError

__all__ = [
    "InputError", "Model", "Rerun", "Service", "StoreError", "Sweep", "SweepFields",
    "SweepStatusReport", "Trial", "TrialComparison", "connect", "launch", "load", "prune", "sweep",
    "sweeps",
]  # fmt: skip

_MODULES = {
    "_launch": ("Service", "SweepFields", "connect", "launch", "prune", "sweep", "sweeps"),
    "_model": ("Model", "load"),
    "_sweep": ("Sweep",),
    "_trial": ("Rerun", "Trial"),
    "models.errors": ("InputError",),
    "search.actions.sweeps": ("SweepStatusReport",),
    "search.actions.trials": ("TrialComparison",),
    "search.store.faults": ("StoreError",),
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("lstm-sweep")
    for module, names in _MODULES.items():
        if name in names:
            globals()[name] = getattr(importlib.import_module(f"lstm_sweep.{module}"), name)
            return globals()[name]
    raise AttributeError(f"module 'lstm_sweep' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
