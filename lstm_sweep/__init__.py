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
    from lstm_sweep._launch import SweepFields, launch, prune, sweep, sweeps
    from lstm_sweep._model import Model, load
    from lstm_sweep._service import Service, connect
    from lstm_sweep._sweep import Sweep
    from lstm_sweep._trial import Rerun, Trial
    from lstm_sweep.models.errors import InputError
    from lstm_sweep.search.actions.status_report import SweepStatusReport
    from lstm_sweep.search.actions.trial_comparison import TrialComparison
    from lstm_sweep.search.store.faults import StoreError

__all__ = [
    "InputError", "Model", "Rerun", "Service", "StoreError", "Sweep", "SweepFields",
    "SweepStatusReport", "Trial", "TrialComparison", "connect", "launch", "load", "prune", "sweep",
    "sweeps",
]  # fmt: skip

_MODULES = {
    "SweepFields": "_launch",
    "launch": "_launch",
    "prune": "_launch",
    "sweep": "_launch",
    "sweeps": "_launch",
    "Model": "_model",
    "load": "_model",
    "Service": "_service",
    "connect": "_service",
    "Sweep": "_sweep",
    "Rerun": "_trial",
    "Trial": "_trial",
    "InputError": "models.errors",
    "SweepStatusReport": "search.actions.status_report",
    "TrialComparison": "search.actions.trial_comparison",
    "StoreError": "search.store.faults",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("lstm-sweep")
    if name not in _MODULES:
        raise AttributeError(f"module 'lstm_sweep' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"lstm_sweep.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
