"""Imports all that a worker needs to train a network; a forkserver imports it before it forks."""

from models import backend, training

__all__ = ["training"]

if backend.is_tensorflow():
    from models import looped

    __all__ += ["looped"]
