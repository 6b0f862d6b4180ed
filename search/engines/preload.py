"""Imports all that a worker needs to train a network; a forkserver imports it before it forks."""

from lstm_sweep.models import backend
from lstm_sweep.models.network import training

__all__ = ["training"]

if backend.is_tensorflow():
    from lstm_sweep.models.cpu import stream_loop

    __all__ += ["stream_loop"]
