"""Hyperparameter search for LSTM sequence models.

    import lstm_sweep as ls

    sweep = ls.launch(data="logs/", trials=40, minutes=30)
    sweep.trials()
    model = sweep.best.export("best-model")

Nothing heavy is imported before it is used. What cannot be, and a store that does not answer, is an
`InputError`, whose message says what was found and what was expected; a store that fails later is a
`StoreError`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lstm_sweep._launch import Service, SweepFields, connect, launch, prune, sweep, sweeps
    from lstm_sweep._model import Model, load
    from lstm_sweep._sweep import Sweep, Trial
    from lstm_sweep.models.errors import InputError
    from lstm_sweep.search.actions.rerun import Rerun
    from lstm_sweep.search.actions.sweeps import SweepStatusReport, TrialComparison
    from lstm_sweep.search.store.faults import StoreError

__all__ = [
    "InputError", "Model", "Rerun", "Service", "StoreError", "Sweep", "SweepFields",
    "SweepStatusReport", "Trial", "TrialComparison", "connect", "launch", "load", "prune", "sweep",
    "sweeps",
]  # fmt: skip

#: where public names are; all others are in `_launch`
_PLACES = {
    "Model": "_model", "load": "_model", "Sweep": "_sweep", "Trial": "_sweep",
    "InputError": "models.errors", "Rerun": "search.actions.rerun",
    "SweepStatusReport": "search.actions.sweeps", "TrialComparison": "search.actions.sweeps",
    "StoreError": "search.store.faults",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("lstm-sweep")
    if name not in __all__:
        raise AttributeError(f"module 'lstm_sweep' has no attribute '{name}'")
    module = importlib.import_module(f"lstm_sweep.{_PLACES.get(name, '_launch')}")
    globals()[name] = found = getattr(module, name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
