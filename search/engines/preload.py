"""Imports all that a worker needs to train a network; a forkserver imports it before it forks."""

from lstm_sweep.models import backend
from lstm_sweep.models.network import training

__all__ = ["training"]

if backend.is_tensorflow():
    from lstm_sweep.models.fast import carried_loop

    __all__ += ["carried_loop"]
